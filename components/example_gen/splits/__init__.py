"""Split protocols: each assigns rows to `train`, `eval` and `test`, and says what would be a leak."""
