"""The pipeline on Vertex AI: its section of the experiment file, the compiled spec, and what sends it."""
