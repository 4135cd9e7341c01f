"""What an ingestion writes: examples, malformed rows, and the report that decides about them."""
