"""Readers: from the files of one table to blocks of typed columns."""
