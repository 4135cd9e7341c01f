"""Benchmarks. They call the product and contain no product logic."""

# Selects Keras 2; must run before any benchmark imports TensorFlow.
import trainer_module  # noqa: F401
