"""Puts a retrieval and a ranking model together, judges the whole, and pushes it."""
