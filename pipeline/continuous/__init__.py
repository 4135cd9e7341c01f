"""Runs the pipeline on one span after the other, as they arrive."""
