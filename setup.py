"""Setuptools entry point; Dataflow's ``--setup_file`` needs a ``setup.py``, all metadata is in pyproject.toml."""

from setuptools import setup

setup()
