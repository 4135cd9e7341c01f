"""Features of a dataset: their description, vocabularies, preprocessing and reading."""
