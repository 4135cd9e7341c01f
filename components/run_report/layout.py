"""File names in the output of RunReport. Does not import TensorFlow."""

REPORT_FILE = "report.html"
PAGE_FILE = "page.json"
"""A `Page` as JSON, to which a runner adds what components cannot know."""
