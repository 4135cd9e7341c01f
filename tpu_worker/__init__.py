"""What a TPU worker runs beyond the product: checks of its programs that need no TPU."""
