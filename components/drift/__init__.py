"""Compares what has arrived with earlier data before it is trained on."""
