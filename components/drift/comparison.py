"""Chooses the earlier data that a new span is compared with, and puts the report together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.drift.columns import compare, draw, not_comparable
from components.drift.config import DriftConfig, Kind
from components.drift.findings import Drawing, Measured
from components.drift.history import Entry, Reference, before, relative_noise, with_entry
from components.drift.profile import Profile, load
from components.drift.report import DriftReport

_COLUMNS_DRAWN = 6
# From this relative noise on, a person is told that few rows tell little.
_FEWER_ROWS = 4


@dataclass(frozen=True)
class Compared:
    """Earlier data that new data are compared with.

    Attributes:
        reference: What they are.
        name: For people.
        directory: Of their profile.
        is_both: Whether the previous span alone is what the blessed model was trained on.
    """

    reference: Reference
    name: str
    directory: str
    is_both: bool = False


def compare_with_earlier(
    own: Entry,
    new: Profile,
    known: Sequence[Entry],
    model_examples: str | None,
    kinds: Mapping[str, Kind],
    config: DriftConfig,
) -> DriftReport:
    """Compares new data with the previous span, and with what the last blessed model was trained on.

    Args:
        own: The new data, without values.
        new: Their profile.
        known: Earlier data, from the last report.
        model_examples: URI of the examples of the last blessed model; None if there is none.
        kinds: Of the compared columns.
        config: Thresholds by column.
    """
    history = before(known, own)
    measured: list[Measured] = []
    values: dict[Reference, dict[str, dict[str, float]]] = {}
    profiles: dict[Reference, Profile] = {}
    names, notes = [], [] if history else [f"{own.name}: there are no earlier data to compare it with"]
    for each in _references(history, model_examples):
        profile = load(each.directory)
        if profile is None:
            notes.append(f"{each.directory} is gone, so that {own.name} is not compared with {each.name}")
            continue
        found = compare(new, profile, each.reference, each.name, kinds, config, history)
        if missing := not_comparable(new, profile, kinds):
            notes.append(f"{', '.join(missing)}: not compared, as {each.name} has no such columns")
        if not found:
            notes.append(f"{own.name} is not compared with {each.name}: they have no column in common")
            continue
        if relative_noise(history, new.rows, profile.rows) > _FEWER_ROWS:
            notes.append(
                f"{own.name} (rows: {new.rows:,}) beside {each.name} (rows: {profile.rows:,}): earlier spans have "
                "more, so that only large differences count as drift"
            )
        measured += found
        profiles[each.reference] = profile
        names.append(each.name)
        # What is one reference today may be two tomorrow, and both need a history.
        for reference in ("previous", "model") if each.is_both else (each.reference,):
            values[reference] = _by_column(found)
    measured.sort(key=lambda each: -each.excess)
    return DriftReport(
        name=own.name,
        rows=new.rows,
        action="stop" if config.action == "stop" else "warn",
        compared_with=tuple(names),
        notes=tuple(notes),
        measured=tuple(measured),
        drawings=tuple(_drawings(measured, new, profiles)),
        entries=with_entry(known, own.model_copy(update={"values": values})),
    )


def _references(history: Sequence[Entry], model_examples: str | None) -> Iterator[Compared]:
    if not history:
        return
    previous = history[-1]
    trained_on = next((entry for entry in history if entry.examples == model_examples), None)
    is_both = trained_on is previous and previous.whole == previous.newest
    name = f"{previous.name}, the previous one" + (" and the blessed model's" if is_both else "")
    yield Compared("previous", name, previous.newest, is_both)
    if trained_on is not None and not is_both:
        what = f"spans {trained_on.window}" if trained_on.window else trained_on.name
        yield Compared("model", f"{what}, the blessed model's", trained_on.whole)


def _drawings(measured: Sequence[Measured], new: Profile, profiles: Mapping[Reference, Profile]) -> list[Drawing]:
    """Drawings of the columns that changed most, each against the reference that it differs from most."""
    worst: dict[str, Measured] = {}
    for each in measured:
        worst.setdefault(each.column, each)
    chosen = list(worst.values())[:_COLUMNS_DRAWN]
    return [draw(new, profiles[each.reference], each.column, each.against) for each in chosen]


def _by_column(found: Sequence[Measured]) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {}
    for each in found:
        values.setdefault(each.column, {})[each.measure] = each.value
    return values
