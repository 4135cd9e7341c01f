"""Builds search indexes from a trained two-tower model: exact, approximate, and for Vertex AI."""
