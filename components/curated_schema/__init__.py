"""Brings a schema that people maintain into the pipeline."""
