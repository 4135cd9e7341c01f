"""From a trained two-tower model to something that can be searched: exactly, approximately, and by Vertex AI."""
