"""Prepares a test process before any test module imports TensorFlow; begins with the longest files."""

import gc
import os

# As the command line does: Python's default takes a third of the time of importing TFX.
gc.set_threshold(50_000)

# One thread per operation: as many test processes as cores run at once.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# TFX imports it late, and it refuses to be loaded after a distutils that another test module has imported.
import setuptools  # noqa: F401, E402

import trainer_module  # noqa: F401, E402 (selects Keras 2)


def pytest_collection_modifyitems(items) -> None:
    """Whole pipelines come first: a process that began one last would run long after the others."""
    items.sort(key=lambda item: "end_to_end" not in item.path.name)
