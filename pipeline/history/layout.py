"""Names of files in the directory of a run."""

STOPPED_FILE = "stopped.json"
"""What is known of a run that a component has stopped before its verdict, in the place of a summary."""
