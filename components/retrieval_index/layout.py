"""File names in the output of RetrievalIndex. Does not import TensorFlow."""

# TensorFlow Serving copies this directory of a SavedModel and ignores its contents.
EXTRA = "assets.extra"
FAISS_DIRECTORY = f"{EXTRA}/faiss"
# Vertex AI imports a directory that contains only such files and infers their format from the suffix.
VERTEX_DIRECTORY = f"{EXTRA}/vertex_vector_search"
VERTEX_FILE = f"{VERTEX_DIRECTORY}/candidates.json"

REPORT_FILE = "retrieval_index.json"
"""An `IndexReport` as JSON, beside the SavedModel."""
