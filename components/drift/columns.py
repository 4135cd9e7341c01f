"""Compares the profiles of new and of earlier data, column by column and measure by measure."""

from collections.abc import Mapping, Sequence

import numpy as np

from components.drift import measures
from components.drift.config import MEASURES_OF, DriftConfig, DriftThresholds, Kind, Measure
from components.drift.findings import Drawing, Measured, short
from components.drift.history import Entry, Reference, earlier_values, relative_noise
from components.drift.measures import Aligned, align
from components.drift.profile import Distribution, Numbers, Profile
from components.drift.thresholds import threshold

_VALUES_DRAWN = 12


def compare(
    new: Profile,
    earlier: Profile,
    reference: Reference,
    against: str,
    kinds: Mapping[str, Kind],
    config: DriftConfig,
    history: Sequence[Entry],
) -> list[Measured]:
    """Measures all columns that both profiles have.

    Args:
        new: The newest span's.
        earlier: The reference's.
        reference: What `earlier` is.
        against: Its name for people.
        kinds: Of the compared columns.
        config: Thresholds by column.
        history: Earlier spans, from whose values the other thresholds follow.
    """
    found = []
    noise = relative_noise(history, new.rows, earlier.rows)
    for column, kind in kinds.items():
        pair = _pair(new, earlier, column)
        if pair is None:
            continue
        aligned = align(*pair)
        given = config.columns.get(column, DriftThresholds())
        for measure in MEASURES_OF[kind]:
            value, change = _measure(measure, aligned, *pair)
            if value is None:
                continue
            values = earlier_values(history, reference, column, measure)
            chance = measures.chance(measure, aligned)
            limit = threshold(column, measure, getattr(given, measure), values, chance, noise)
            found.append(
                Measured(
                    column=column,
                    measure=measure,
                    value=value,
                    threshold=limit.value,
                    origin=limit.origin,
                    may_stop=limit.may_stop,
                    reference=reference,
                    against=against,
                    change=change,
                )
            )
    return found


def not_comparable(new: Profile, earlier: Profile, kinds: Mapping[str, Kind]) -> list[str]:
    """Columns that one of two profiles does not have, or has of another kind."""
    return [column for column in kinds if _pair(new, earlier, column) is None]


def draw(new: Profile, earlier: Profile, column: str, against: str) -> Drawing:
    """The values of a column whose shares differ most; of numbers, all bins in their order."""
    pair = _pair(new, earlier, column)
    assert pair is not None
    aligned = align(*pair)
    before, after = aligned.shares
    if isinstance(pair[0], Numbers):
        chosen = np.flatnonzero(before + after)
    else:
        chosen = np.argsort(-np.abs(before - after), kind="stable")[:_VALUES_DRAWN]
        chosen = chosen[before[chosen] + after[chosen] > 0]
        chosen = chosen[np.argsort(-before[chosen], kind="stable")]
    return Drawing(
        column=column,
        against=against,
        values=tuple(short(aligned.names[number]) for number in chosen),
        earlier=tuple(before[chosen].tolist()),
        newer=tuple(after[chosen].tolist()),
    )


def _pair(new: Profile, earlier: Profile, column: str) -> tuple[Distribution, Distribution] | None:
    """The column's distributions, the earlier one first; None if one of the two has none of this kind."""
    pair = (earlier.columns.get(column), new.columns.get(column))
    return pair if pair[0] is not None and type(pair[0]) is type(pair[1]) else None  # type: ignore[return-value]


def _measure(
    measure: Measure, aligned: Aligned, earlier: Distribution, newer: Distribution
) -> tuple[float | None, str]:
    """The value, None where it is not defined, and what has changed."""
    before, after = aligned.shares
    largest, place = measures.l_infinity(aligned)
    change = f"{short(aligned.names[place])!r}: {before[place]:.1%} of the rows, now {after[place]:.1%}"
    if measure == "l_infinity":
        return largest, change
    if measure == "jensen_shannon":
        return measures.jensen_shannon(aligned), f"most: {change}"
    if measure == "new_tokens":
        unknown = np.flatnonzero((aligned.earlier[:-1] == 0) & (aligned.newer[:-1] > 0))
        frequent = unknown[np.argsort(-aligned.newer[unknown], kind="stable")][:3]
        names = ", ".join(short(aligned.names[number]) for number in frequent)
        return measures.new_tokens(aligned), f"{len(unknown):,} new tokens" + (f", such as {names}" if names else "")
    assert isinstance(earlier, Numbers) and isinstance(newer, Numbers)
    return measures.label_shift(earlier, newer), f"mean {earlier.mean:.4g}, now {newer.mean:.4g}"
