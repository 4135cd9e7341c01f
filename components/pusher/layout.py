"""File names in the Pusher's output. Does not import TensorFlow."""

SUMMARY_FILE_NAME = "summary.json"
