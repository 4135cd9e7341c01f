"""Names in the output of DriftGate. Does not import TensorFlow."""

REPORT_FILE = "drift.json"

NEWEST, WHOLE = "newest", "whole"
"""Directories of the profiles of the newest span, and of all rows where these are more."""

EXAMPLES = "examples"
"""Custom property: URI of the examples that were compared."""
