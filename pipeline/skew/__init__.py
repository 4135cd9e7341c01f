"""Compares logged requests and answers of a model server with training data and a pushed version."""
