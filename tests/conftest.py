"""Selects Keras 2 before any test module imports TensorFlow."""

import trainer_module  # noqa: F401
