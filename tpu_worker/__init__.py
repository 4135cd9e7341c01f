"""Checks of TPU programs that need no TPU."""
