"""Where things lie in what the Pusher makes. No TensorFlow here."""

SUMMARY_FILE_NAME = "summary.json"
