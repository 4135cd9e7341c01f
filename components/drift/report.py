"""What DriftGate writes: findings, drawings, and the history that the next run reads. Does not import TensorFlow."""

from typing import Any, Literal

from components.drift.findings import Drawing, Measured
from components.drift.history import Entry
from trainer_module.frozen import Frozen


class DriftReport(Frozen):
    """The comparison of a run's newest span with earlier data.

    Attributes:
        name: The span's name for people.
        rows: Its rows that were looked at.
        action: What the experiment asks for.
        compared_with: Names of the earlier data, for people; empty if there are none.
        notes: What could not be compared, and why.
        measured: All measures, those that exceed their thresholds most first.
        drawings: Of the columns that changed most.
        entries: Earlier spans and this one.
    """

    name: str
    rows: int
    action: Literal["stop", "warn"]
    compared_with: tuple[str, ...]
    notes: tuple[str, ...]
    measured: tuple[Measured, ...]
    drawings: tuple[Drawing, ...]
    entries: tuple[Entry, ...]

    def as_summary(self) -> dict[str, Any]:
        """The part of a run's summary about drift: what was compared, and what is above its threshold."""
        findings = [each.model_dump() for each in self.drift]
        return {
            "name": self.name,
            "compared_with": self.compared_with,
            "findings": findings,
            "notes": self.notes,
        }

    @property
    def drift(self) -> tuple[Measured, ...]:
        """What is above its threshold."""
        return tuple(each for each in self.measured if each.is_drift)
