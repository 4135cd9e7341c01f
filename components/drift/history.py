"""What is known of earlier spans, and which of them new data are compared with."""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from trainer_module.frozen import Frozen

Reference: TypeAlias = Literal["previous", "model"]

# Spans that thresholds follow from; earlier ones are forgotten.
SPANS_KEPT = 30


class Entry(Frozen):
    """A span, or a whole delivery of files without spans, that was accepted.

    Attributes:
        name: For people, such as `span 4` or `span 2024-05-04`.
        span: Its number; None where files have no spans.
        window: All spans that were read with it, such as `2-4`.
        examples: URI of the examples that it was read into, which identifies the models that were trained on them.
        newest: Directory of the profile of its own rows.
        whole: Directory of the profile of all rows that were read with it; the same where it was read alone.
        rows: Its own rows.
        values: Its measures by reference, column and measure.
    """

    name: str
    span: int | None
    window: str
    examples: str
    newest: str
    whole: str
    rows: int
    values: dict[Reference, dict[str, dict[str, float]]] = {}


def with_entry(entries: Iterable[Entry], new: Entry) -> tuple[Entry, ...]:
    """The entries with another one, which takes the place of the same span's, in the order of spans."""
    kept = [*without(entries, new), new]
    if new.span is not None:
        kept.sort(key=lambda entry: -1 if entry.span is None else entry.span)
    return tuple(kept[-SPANS_KEPT:])


def without(entries: Iterable[Entry], own: Entry) -> list[Entry]:
    """The entries of other data: other spans or, without spans, other examples."""
    if own.span is None:
        return [entry for entry in entries if entry.examples != own.examples]
    return [entry for entry in entries if entry.span != own.span and entry.examples != own.examples]


def before(entries: Iterable[Entry], own: Entry) -> list[Entry]:
    """The entries of earlier data, the latest last; for a rerun of an old span, of the spans before it."""
    others = without(entries, own)
    if own.span is None:
        return others
    return [entry for entry in others if entry.span is not None and entry.span < own.span]


def relative_noise(entries: Sequence[Entry], new_rows: int, earlier_rows: int) -> float:
    """How much more shares of rows vary by chance between two data sets than between earlier spans.

    Args:
        entries: Earlier spans.
        new_rows: Of the new data.
        earlier_rows: Of what they are compared with.

    Returns:
        1/n + 1/m for both, over the same of the median number of rows of earlier spans (or of more earlier rows).
    """
    typical = max(float(np.median([entry.rows for entry in entries])), 1.0)
    noise = 1 / max(new_rows, 1) + 1 / max(earlier_rows, 1)
    return noise / (1 / typical + 1 / max(earlier_rows, typical))


def earlier_values(entries: Sequence[Entry], reference: Reference, column: str, measure: str) -> list[float]:
    """Values of a measure between earlier spans, the latest last."""
    found = (entry.values.get(reference, {}).get(column, {}).get(measure) for entry in entries)
    return [value for value in found if value is not None]
