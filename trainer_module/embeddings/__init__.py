"""Embedding tables: their layer, placement and initial values."""
