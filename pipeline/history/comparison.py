"""What differs between runs: configuration, data, metrics, and whether the metrics' difference is more than chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.evaluation.paired import PAIRED_COLUMNS, Difference, paired_differences
from components.evaluation.row_files import read_rows
from components.example_gen.bigquery.layout import described_results
from components.retrieval_index.config import DEFAULT_CUTOFF
from pipeline.history.records import Run
from pipeline.wiring_names import EVALUATION, EVALUATOR, EXAMPLE_GEN
from trainer_module.errors import DataError


@dataclass(frozen=True)
class Row:
    """Something by run.

    Attributes:
        name: A dotted key, or the name of a metric.
        values: One per run; None where a run has none.
    """

    name: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        return any(value != self.values[0] for value in self.values[1:])


@dataclass(frozen=True)
class Significance:
    """A run beside the first one, on the same test rows.

    Attributes:
        run: The run.
        differences: Its metrics minus the first run's, with intervals; empty where they cannot be compared.
        refusal: Why they cannot be compared; empty where they can.
    """

    run: Run
    differences: tuple[Difference, ...]
    refusal: str = ""


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; the first is what the others are compared with.

    Attributes:
        runs: At least two.
        facts: Dataset, model, verdict and others.
        metrics: Over the whole test split.
        config: Keys of the experiment that differ.
        data: What differs in what was read.
        significance: One per run but the first.
    """

    runs: tuple[Run, ...]
    facts: tuple[Row, ...]
    metrics: tuple[Row, ...]
    config: tuple[Row, ...]
    data: tuple[Row, ...]
    significance: tuple[Significance, ...]


def compare(runs: Sequence[Run]) -> Comparison:
    """Compares runs with the first of them.

    Args:
        runs: At least two.

    Raises:
        ConfigError: Nothing is known of a run, as of one that was killed.
    """
    first, *others = runs
    facts = [
        Row(name, tuple(getattr(run, name) for run in runs))
        for name in ("pipeline", "dataset", "model", "verdict", "seconds")
    ]
    return Comparison(
        runs=tuple(runs),
        facts=tuple(facts),
        metrics=tuple(_rows([run.metrics for run in runs])),
        config=tuple(row for row in _rows([_flat(run.result["config"]) for run in runs]) if row.differs),
        data=tuple(row for row in _rows([_data(run) for run in runs]) if row.differs),
        significance=tuple(_significance(first, other) for other in others),
    )


def _rows(columns: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for name in dict.fromkeys(name for column in columns for name in column):
        yield Row(name, tuple(column.get(name) for column in columns))


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested keys, by dotted key."""
    if not isinstance(tree, Mapping) or not tree:
        return {path: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{path}.{key}".removeprefix("."))
    return leaves


def _data(run: Run) -> dict[str, Any]:
    """What tells whether two runs read the same data."""
    # A stopped run may have neither.
    examples, training = run.result.get("examples", {}), run.result.get("training", {})
    rows = {f"rows of {split}": count for split, count in examples.get("rows", {}).items()}
    facts = {"bad rows": examples.get("bad_rows"), "spans": examples.get("spans")}
    vocabularies = training["vocabularies"][:12] if training else None
    facts |= {"vocabularies (SHA-256)": vocabularies, "directory": run.result["data_dir"]}
    facts |= described_results(examples)
    for each in run.executions:
        if each.component == EXAMPLE_GEN and "input_fingerprint" in each.facts:
            facts["files read (size, time)"] = each.facts["input_fingerprint"]
    return rows | facts


def _significance(first: Run, other: Run) -> Significance:
    try:
        pair = []
        for run in (first, other):
            evaluation = run.output(EVALUATOR, EVALUATION)
            if evaluation is None and run.stopped:
                raise DataError(f"run {run.id} judged no model: {run.verdict}")
            if evaluation is None:
                raise DataError(f"the metadata store does not know where run {run.id} left its evaluation")
            pair.append(read_rows(evaluation, PAIRED_COLUMNS))
        return Significance(other, tuple(paired_differences(*pair, cutoff=_cutoff(first, other))))
    except DataError as error:
        return Significance(other, (), str(error))


def _cutoff(*runs: Run) -> int:
    """The first length of lists that all runs judge."""
    first, *others = [run.result["config"]["evaluation"]["cutoffs"] or [DEFAULT_CUTOFF] for run in runs]
    return next((k for k in first if all(k in other for other in others)), first[0])
