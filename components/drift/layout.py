"""Names in the output of DriftGate. Does not import TensorFlow."""

REPORT_FILE = "drift.json"

NEWEST, WHOLE = "newest", "whole"
"""Directories of the profiles of the newest span, and of all rows where these are more."""

ACCEPTED = "accepted"
"""Custom property: 1 where drift that could have stopped the run was let through."""

EXAMPLES = "examples"
"""Custom property: URI of the examples that were compared."""
