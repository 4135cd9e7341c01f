"""Runs a compiled pipeline on this machine, task by task, as Vertex AI Pipelines would."""
