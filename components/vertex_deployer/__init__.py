"""From a pushed version to Vertex AI: Model Registry, Endpoint, Vector Search."""
