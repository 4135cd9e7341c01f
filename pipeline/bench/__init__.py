"""Measurements on the user's own experiment and data: `recspan bench data`, `train` and `serve`."""
