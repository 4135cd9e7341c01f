"""Curated schemas, one per family of datasets; data only."""
