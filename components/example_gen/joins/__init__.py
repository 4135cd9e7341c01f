"""Joins: each adds columns to rows, or whole splits beside them."""
