"""The transform graph that the preprocessing function and the training split make."""
