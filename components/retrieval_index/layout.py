"""Where things lie in what RetrievalIndex makes. No TensorFlow here."""

# TensorFlow Serving copies this directory of a SavedModel without looking into it.
EXTRA = "assets.extra"
FAISS_DIRECTORY = f"{EXTRA}/faiss"
# Vertex AI imports a directory of nothing but such files, and tells their format from the suffix.
VERTEX_DIRECTORY = f"{EXTRA}/vertex_vector_search"
VERTEX_FILE = f"{VERTEX_DIRECTORY}/candidates.json"

REPORT_FILE = "retrieval_index.json"
"""Beside the SavedModel: an `IndexReport`."""
