"""Example validation that stops the pipeline."""
