"""Models: built from injected parts, called with a dictionary of features, free of strategies and files."""
