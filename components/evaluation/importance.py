"""The file in which the Evaluator leaves the permutation importance of input columns."""

import os

import tensorflow as tf

from trainer_module.frozen import Frozen

_FILE = "importance.json"

REPEATS = 5
"""Number of times that the values of each unit are exchanged."""


class Unit(Frozen):
    """Columns whose values are exchanged together.

    Attributes:
        name: Of the column, or of what the columns describe.
        columns: Their names.
        is_group: Whether they describe one user or one item as a whole.
    """

    name: str
    columns: tuple[str, ...]
    is_group: bool = False


class UnitChange(Frozen):
    """What exchanging a unit's values changes.

    Attributes:
        unit: The unit.
        changes: By metric, the permuted minus the unpermuted value, one for each repeat.
    """

    unit: Unit
    changes: dict[str, tuple[float, ...]]


class SampleMetric(Frozen):
    """A metric of the unpermuted sample.

    Attributes:
        name: As in the summary of a run.
        value: Its value.
        higher_is_better: Its direction.
        gates: Whether it decides about the model, rather than standing beside the one that does.
    """

    name: str
    value: float
    higher_is_better: bool = False
    gates: bool = True


class Importance(Frozen):
    """The result of a measurement.

    Attributes:
        rows: Number of test rows or queries in the sample.
        metrics: Of the unpermuted sample.
        units: In the order of the columns, groups last.
        seconds: How long the model was asked, and its answers were judged.
        refusal: Why nothing was measured; empty where something was.
    """

    rows: int = 0
    metrics: tuple[SampleMetric, ...] = ()
    units: tuple[UnitChange, ...] = ()
    seconds: float = 0.0
    refusal: str = ""


def write_importance(importance: Importance, evaluation: str) -> None:
    """Writes the file into the Evaluator's output, a directory or URI."""
    with tf.io.gfile.GFile(os.path.join(evaluation, _FILE), "w") as file:
        file.write(importance.model_dump_json())


def read_importance(evaluation: str) -> Importance:
    """Reads the file from the Evaluator's output."""
    with tf.io.gfile.GFile(os.path.join(evaluation, _FILE)) as file:
        return Importance.model_validate_json(file.read())
