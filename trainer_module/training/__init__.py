"""The training loop, its devices and its checkpoints."""
