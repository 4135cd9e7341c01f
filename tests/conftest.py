"""Selects Keras 2 before any test module imports TensorFlow."""

# TFX imports it late, and it refuses to be loaded after a distutils that another test module has imported.
import setuptools  # noqa: F401

import trainer_module  # noqa: F401
