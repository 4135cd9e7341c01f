"""Plans where embedding tables go on a TPU slice."""
