"""What an artifact of examples says about its spans, and which of its files hold the newest one's rows.

Does not import TensorFlow.
"""

# Custom properties; only examples of files with spans have them.
SPANS = "spans"
"""All spans, such as `3-5` or `2024-05-01/2024-05-03`."""
NUM_SPANS = "num_spans"
"""Number of spans."""
NEWEST_SPAN_NAME = "newest_span"
"""The newest one, such as `5` or `2024-05-03`."""

# Where several spans are read, the newest one's rows are in files of their own, whose names end so before the suffix.
NEWEST_MARK = "-newest"
NEWEST_FILES = f"*{NEWEST_MARK}.*"
