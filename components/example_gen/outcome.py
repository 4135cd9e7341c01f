"""What a run reports beside the examples, so that the executor can decide whether they may be used."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from components.example_gen.bad_rows import BadRow, describe
from components.example_gen.old_splits import SPLITS
from trainer_module.errors import DataError

# So many bad rows are kept for the message even if none is tolerated.
_KEPT_AT_LEAST = 10
_LEAKS_KEPT = 10


@dataclass(frozen=True)
class Outcome:
    """Counts and findings of some blocks, or of all.

    Attributes:
        num_bad_rows: Malformed rows.
        bad_rows: The first of them, by file and line.
        split_rows: Rows written to each of `SPLITS`.
        leaks: Broken promises of the protocol, in words.
    """

    num_bad_rows: int = 0
    bad_rows: tuple[BadRow, ...] = ()
    split_rows: tuple[int, ...] = (0,) * len(SPLITS)
    leaks: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Serializes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Restores what `to_json` wrote."""
        fields = json.loads(text)
        return cls(
            num_bad_rows=fields["num_bad_rows"],
            bad_rows=tuple(BadRow(**row) for row in fields["bad_rows"]),
            split_rows=tuple(fields["split_rows"]),
            leaks=tuple(fields["leaks"]),
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
    bad = sorted((row for outcome in outcomes for row in outcome.bad_rows), key=lambda row: (row.file, row.line))
    return Outcome(
        num_bad_rows=sum(outcome.num_bad_rows for outcome in outcomes),
        bad_rows=tuple(bad[: max(max_bad_rows, _KEPT_AT_LEAST)]),
        split_rows=tuple(sum(outcome.split_rows[i] for outcome in outcomes) for i in range(len(SPLITS))),
        leaks=tuple(leak for outcome in outcomes for leak in outcome.leaks)[:_LEAKS_KEPT],
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
            f"Mend the lines, or set data.max_bad_rows={outcome.num_bad_rows} to set such rows aside and go on."
        )


def check_splits(outcome: Outcome, protocol: str) -> None:
    """Checks that no split is empty and that the protocol kept its promises.

    Raises:
        DataError: It names the protocol, the splits and examples of the rows.
    """
    if empty := [name for name, count in zip(SPLITS, outcome.split_rows, strict=True) if count == 0]:
        counts = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, outcome.split_rows, strict=True))
        raise DataError(
            f"data.protocol {protocol!r} leaves {' and '.join(empty)} without a row ({counts}). Use more data, larger "
            "data.eval_fraction or data.test_fraction, or another protocol."
        )
    if outcome.leaks:
        raise DataError(
            f"data.protocol {protocol!r}: the splits leak into each other:\n"
            + "\n".join(f"  {leak}" for leak in outcome.leaks)
            + "\nNothing was published. If u.data holds a rating twice, remove one of the two lines."
        )
