"""A metric of the model beside that of the naive baseline, as people read it. Free of TensorFlow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """A metric of the model and of a reference.

    Attributes:
        metric: Its name.
        value: The model's; None where it is undefined.
        reference: What it is compared with, for people.
        reference_value: Its value; None where it is undefined.
    """

    metric: str
    value: float | None
    reference: str
    reference_value: float | None

    def __str__(self) -> str:
        return f"{self.metric} {shown(self.value)} ({self.reference}: {shown(self.reference_value)})"


def shown(value: float | None) -> str:
    """A value as messages show it."""
    return "undefined" if value is None else f"{value:.4f}"
