"""Data comes in: sources, a synthetic dataset, row parsing, splits and the ExampleGen component."""
