"""Ids of components and keys of outputs that are looked up by name after a run. Does not import TFX."""

EXAMPLE_GEN, TRAINER, EVALUATOR = "ExampleGen", "Trainer", "Evaluator"
PUSHER, RUN_REPORT, DRIFT_GATE = "Pusher", "RunReport", "DriftGate"
STATISTICS_GEN, EXAMPLE_VALIDATOR = "StatisticsGen", "ExampleValidator"
TRANSFORM = "Transform"
DATA_COMPONENTS = (EXAMPLE_GEN, STATISTICS_GEN, EXAMPLE_VALIDATOR, DRIFT_GATE)
"""Components that look at the data before anything is trained."""
EVALUATION = "evaluation"
