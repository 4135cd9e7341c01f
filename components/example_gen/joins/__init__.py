"""Joins: what examples get beside their own row, from users, items and other rows. Each is a named part."""
