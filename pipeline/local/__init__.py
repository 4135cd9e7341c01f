"""Runs a pipeline on this machine.

`run` is the entry point: it handles console, log and errors. It calls `execution`, which wires the pipeline, hands it
to the runner in `runner` and writes the summary. Both return the types of `outcome`.
"""
