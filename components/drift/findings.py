"""What was measured, as plain data and as text. Does not import TensorFlow."""

from collections.abc import Mapping, Sequence

from components.drift.config import Measure
from components.drift.history import Reference
from trainer_module.frozen import Frozen

_LONGEST_NAME = 40

ADVICE: Mapping[Measure, str] = {
    "l_infinity": "look at the named value in the new files: has its spelling, its unit or its source changed?",
    "jensen_shannon": "compare the column's values in the new and the earlier files; the report draws both",
    "new_tokens": (
        "if the catalog has grown, this is growth; else look for identifiers that are spelt in another way than before"
    ),
    "label_shift": "check how labels are recorded: a late, doubled or missing source moves their mean",
}


class Measured(Frozen):
    """One measure of one column, against one reference.

    Attributes:
        column: Name.
        measure: Name.
        value: Measured.
        threshold: The largest value that is no drift.
        origin: Where the threshold comes from.
        may_stop: Whether a value above it may stop a run.
        reference: What it was compared with: the previous span, or the data of the last blessed model.
        against: The same for people, such as `span 3`.
        change: What has changed most, for people.
    """

    column: str
    measure: Measure
    value: float
    threshold: float
    origin: str
    may_stop: bool
    reference: Reference
    against: str
    change: str

    @property
    def is_drift(self) -> bool:
        """Whether it is above its threshold."""
        return self.value > self.threshold

    @property
    def sentence(self) -> str:
        """The finding on one line."""
        return (
            f"{self.column}: {self.measure} {self.value:.3f} against {self.against} is above {self.threshold:.3f} "
            f"({self.origin}). {self.change}. {ADVICE[self.measure]}"
        )

    @property
    def excess(self) -> float:
        """Value over threshold, for sorting."""
        return self.value / self.threshold if self.threshold else float("inf") if self.value else 0.0


class Drawing(Frozen):
    """Shares of a column's values in earlier and new data, for a chart.

    Attributes:
        column: Name.
        against: Name of the earlier data.
        values: Names of the values.
        earlier: Their shares in the earlier data.
        newer: Their shares in the new data.
    """

    column: str
    against: str
    values: tuple[str, ...]
    earlier: tuple[float, ...]
    newer: tuple[float, ...]


def as_table(found: Sequence[Measured]) -> str:
    """Formats findings as an aligned table, and says below it what to do about each measure."""
    cells = [("column", "measure", "value", "threshold", "threshold from", "against", "what has changed")]
    cells += [
        (
            each.column,
            each.measure,
            f"{each.value:.3f}",
            f"{each.threshold:.3f}",
            each.origin,
            each.against,
            each.change,
        )
        for each in found
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines += [f"{measure}: {ADVICE[measure]}" for measure in dict.fromkeys(each.measure for each in found)]
    return "\n".join(lines)


def short(name: str) -> str:
    """A value's name that fits into a line."""
    name = name or "(empty)"
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
