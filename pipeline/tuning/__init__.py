"""`recspan tune`: searches for settings of an experiment that do better on the eval split."""
