"""The commands of `recspan` by topic. Each parses and calls, and imports what takes long only when it runs."""
