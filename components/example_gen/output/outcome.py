"""What an ingestion reports beside the examples; it decides whether they may be used."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from components.example_gen.output.bad_rows import BadRow, describe, kind_of
from components.example_gen.readers.files import relative
from components.example_gen.rows import SPLITS
from trainer_module.data.spec import Task
from trainer_module.errors import DataError

# Malformed rows that are kept for the message even if none is tolerated.
_KEPT_AT_LEAST = 10
_LEAKS_KEPT = 10
_KINDS_KEPT = 20
# As many bad rows of one kind are more likely due to the table's description than to the rows.
_MANY = 10


@dataclass(frozen=True)
class Outcome:
    """Counts and findings of some blocks, or of all.

    Attributes:
        num_bad_rows: Malformed rows.
        bad_rows: The first of them, by file and line.
        split_rows: Rows written to each of `SPLITS`.
        split_positives: Those of them whose label is above 0.
        num_dropped_rows: Rows without a positive label, which retrieval leaves out.
        num_queries: Queries of the test split, for retrieval.
        num_findable: Those of them with an item that the user did not have before, so that a list may hold it.
        leaks: Broken promises of the protocol, in words.
        problems: Number of malformed rows by the kind of their problem, the most frequent first.
    """

    num_bad_rows: int = 0
    bad_rows: tuple[BadRow, ...] = ()
    split_rows: tuple[int, ...] = (0,) * len(SPLITS)
    split_positives: tuple[int, ...] = (0,) * len(SPLITS)
    num_dropped_rows: int = 0
    num_queries: int = 0
    num_findable: int = 0
    leaks: tuple[str, ...] = ()
    problems: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of_bad_rows(cls, bad: Sequence[BadRow], num_dropped_rows: int = 0) -> "Outcome":
        """Reports malformed rows, and the number of those that were left out because of their label."""
        kinds = Counter(kind_of(row.problem) for row in bad)
        return cls(
            num_bad_rows=len(bad),
            bad_rows=tuple(bad),
            num_dropped_rows=num_dropped_rows,
            problems=tuple(kinds.most_common(_KINDS_KEPT)),
        )

    def __reduce__(self):
        # One text pickles in a hundredth of the time of as many objects as there are bad rows.
        return Outcome.from_json, (self.to_json(),)

    def to_json(self) -> str:
        """Serializes."""
        # `asdict` would copy every text.
        return json.dumps(vars(self) | {"bad_rows": [vars(row) for row in self.bad_rows]})

    def relative_to(self, directory: str) -> "Outcome":
        """The same with the files of bad rows named below a directory."""
        names = {file: relative(file, directory) for file in {row.file for row in self.bad_rows}}
        return replace(self, bad_rows=tuple(replace(row, file=names[row.file]) for row in self.bad_rows))

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Restores what `to_json` wrote."""
        fields = json.loads(text)
        return cls(
            num_bad_rows=fields["num_bad_rows"],
            bad_rows=tuple(BadRow(**row) for row in fields["bad_rows"]),
            split_rows=tuple(fields["split_rows"]),
            split_positives=tuple(fields["split_positives"]),
            num_dropped_rows=fields["num_dropped_rows"],
            num_queries=fields["num_queries"],
            num_findable=fields["num_findable"],
            leaks=tuple(fields["leaks"]),
            problems=tuple((kind, count) for kind, count in fields["problems"]),
        )


def combine(outcomes: Iterable[Outcome], max_bad_rows: int) -> Outcome:
    """Joins outcomes, keeping no more bad rows than can be of use.

    Args:
        outcomes: Of disjoint blocks.
        max_bad_rows: See `IngestConfig`.

    Returns:
        Their sum.
    """
    outcomes = list(outcomes)
    kinds: Counter[str] = Counter()
    for outcome in outcomes:
        kinds.update(dict(outcome.problems))
    bad = sorted((row for outcome in outcomes for row in outcome.bad_rows), key=lambda row: (row.file, row.line))
    return Outcome(
        num_bad_rows=sum(outcome.num_bad_rows for outcome in outcomes),
        bad_rows=tuple(bad[: max(max_bad_rows, _KEPT_AT_LEAST)]),
        split_rows=_sums([outcome.split_rows for outcome in outcomes]),
        split_positives=_sums([outcome.split_positives for outcome in outcomes]),
        num_dropped_rows=sum(outcome.num_dropped_rows for outcome in outcomes),
        num_queries=sum(outcome.num_queries for outcome in outcomes),
        num_findable=sum(outcome.num_findable for outcome in outcomes),
        leaks=tuple(leak for outcome in outcomes for leak in outcome.leaks)[:_LEAKS_KEPT],
        problems=tuple(kinds.most_common(_KINDS_KEPT)),
    )


def check_bad_rows(outcome: Outcome, max_bad_rows: int, data_dir: str) -> None:
    """Checks that few enough rows are bad.

    Raises:
        DataError: More than `max_bad_rows` are.
    """
    if outcome.num_bad_rows > max_bad_rows:
        raise DataError(
            f"{data_dir}: {outcome.num_bad_rows:,} bad row(s), and data.max_bad_rows allows {max_bad_rows:,}:\n"
            f"{describe(outcome.bad_rows, outcome.num_bad_rows)}\n"
            f"{_advice(outcome)}"
        )


def _advice(outcome: Outcome) -> str:
    """How to go on: by the description of the table, if most bad rows have one problem, else by the rows."""
    count = outcome.num_bad_rows
    by_rows = f"end the lines, or set data.max_bad_rows={count} to set such rows aside and go on."
    kind, of_kind = outcome.problems[0] if outcome.problems else ("", 0)
    if of_kind < _MANY or of_kind < count / 2:
        return f"M{by_rows}"
    share = "All" if of_kind == count else f"{of_kind:,} of them"
    return (
        f"{share} have the same problem: {kind}. If such rows are right, describe the table otherwise "
        f"(docs/own_data.md); else m{by_rows}"
    )


def check_splits(outcome: Outcome, protocol: str, task: Task) -> None:
    """Checks that every split can be used and that the protocol kept its promise.

    Args:
        outcome: Of the whole ingestion.
        protocol: Name of the split protocol.
        task: Of the dataset; clicks need both classes where they are learnt and judged.

    Raises:
        DataError: It names the protocol, the splits and examples of the rows.
    """
    counts = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, outcome.split_rows, strict=True))
    if empty := [name for name, count in zip(SPLITS, outcome.split_rows, strict=True) if count == 0]:
        dropped = f"; {outcome.num_dropped_rows:,} rows have no positive label" if outcome.num_dropped_rows else ""
        raise DataError(
            f"data.split (by {protocol}) leaves {' and '.join(empty)} without a row ({counts}{dropped}). Use more "
            "data, larger data.split.eval_fraction or test_fraction, or another split."
        )
    if task == "click":
        _check_classes(outcome, protocol)
    if outcome.num_queries and not outcome.num_findable:
        raise DataError(
            f"data.split (by {protocol}): none of the {outcome.num_queries:,} test users has an item in test that is "
            "not in train or eval too. Lists leave out what a user had before, so that nDCG and recall would be 0 "
            "whatever the model. Use more data or another split"
        )
    if outcome.leaks:
        raise DataError(
            f"data.split (by {protocol}): the splits leak into each other:\n"
            + "\n".join(f"  {leak}" for leak in outcome.leaks)
            + "\nNothing was published. If a file holds a row twice, remove one of the two, or take another split."
        )


def _check_classes(outcome: Outcome, protocol: str) -> None:
    for name in ("train", "test"):
        number = SPLITS.index(name)
        rows, clicks = outcome.split_rows[number], outcome.split_positives[number]
        if clicks in (0, rows):
            counts = ", ".join(
                f"{split} {positives:,} of {total:,}"
                for split, positives, total in zip(SPLITS, outcome.split_positives, outcome.split_rows, strict=True)
            )
            undefined = "nothing can be learnt" if name == "train" else "the AUC is undefined"
            raise DataError(
                f"data.split (by {protocol}): all {rows:,} rows of {name} have the label {int(clicks > 0)}, so "
                f"{undefined}; both 0 and 1 are needed. Rows with the label 1: {counts}. Use more data, larger splits "
                "or another split"
            )


def _sums(counts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*counts, strict=True))) or (0,) * len(SPLITS)
