"""What everything that talks to Google Cloud shares."""
