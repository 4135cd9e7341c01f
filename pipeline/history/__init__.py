"""What runs of this machine left behind: lists them, shows one, compares several (`recspan runs`)."""
