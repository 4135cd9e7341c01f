"""Asks pushed models."""
