"""Malformed data files, experiment files and command lines, made from a seed; each must end in a clear message."""
