"""Optimizers: configuration, and their Keras and TPU forms."""
