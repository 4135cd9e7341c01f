"""How good a retrieval model is: metrics over the whole corpus, and their TFMA side."""
