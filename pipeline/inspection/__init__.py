"""Looks at files of a dataset, says what their columns are and proposes an experiment."""
