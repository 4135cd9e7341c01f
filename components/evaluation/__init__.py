"""Model analysis on batches.

TFMA turns every batch into one dictionary per row and slice before it computes metrics, which takes most of its time.
Here a batch stays a batch: rows are grouped by slice with numpy, and metrics add up whole arrays.
"""
