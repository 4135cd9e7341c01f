"""Selects Keras 2 before any test module imports TensorFlow; begins with the longest files."""

# TFX imports it late, and it refuses to be loaded after a distutils that another test module has imported.
import setuptools  # noqa: F401

import trainer_module  # noqa: F401


def pytest_collection_modifyitems(items) -> None:
    """Whole pipelines come first: a process that began one last would run long after the others."""
    items.sort(key=lambda item: "end_to_end" not in item.path.name)
