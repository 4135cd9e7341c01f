"""Pushes blessed models that were proved to serve."""
