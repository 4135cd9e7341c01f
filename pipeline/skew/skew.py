"""`recspan skew`: replays logged calls and compares them with the training statistics and the pushed version."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from components.pusher.requests import is_for_clients
from components.retrieval_index.config import EXCLUDE, K
from components.retrieval_index.exact import queries_at_once
from pipeline.ask.versions import data_config, load_model, read_summary
from pipeline.skew.columns import ColumnCounts
from pipeline.skew.logs import UNNAMED, Call, read_calls
from pipeline.skew.replay import Replay, specs_of
from pipeline.skew.report import Measured, SkewReport, Thresholds, measures_of_answers, measures_of_column
from pipeline.skew.training import read_statistics
from pipeline.two_stage.config import ITEMS, TWO_STAGE
from trainer_module.data.features import Categorical
from trainer_module.data.spec import SEEN
from trainer_module.errors import ConfigError, DataError
from trainer_module.suggestions import did_you_mean

_EXAMPLES = "examples"
# Inputs of `recommend` that are no columns.
_SETTINGS = (EXCLUDE, K)
_ROWS_AT_ONCE = 1024
_KIND_OF_DTYPE = {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}


class LogReader:
    """Takes logged calls apart: columns to be counted, answers to be compared."""

    def __init__(
        self, version: Path, statistics: Path, ignored: Collection[str], tolerance: float, columns_only: bool = False
    ):
        """Loads the model, its vocabularies and the training statistics.

        Args:
            version: A pushed version.
            statistics: `FeatureStats.pb` of its training split.
            ignored: Columns that are not compared with the training split.
            tolerance: As for `Replay`.
            columns_only: Whether answers are not compared.

        Raises:
            ModelError: The version cannot be loaded.
            DataError: The statistics cannot be read.
            ConfigError: An ignored column is no input of the model.
        """
        summary = read_summary(version)
        dataset = data_config(summary).described().spec()
        model = load_model(version, "serving_default")
        self._signatures = {name: each for name, each in model.signatures.items() if is_for_clients(name)}
        self._model = model  # Signatures do not keep it alive.
        trained = read_statistics(statistics, dataset.features)
        inputs = {column.name: column for column in dataset.features.inputs}
        used = {
            name
            for signature in self._signatures.values()
            for name in specs_of(signature)
            if name in inputs and not _takes_examples(signature)
        }
        if unknown := [name for name in ignored if name not in used]:
            raise ConfigError(
                f"--ignore {unknown[0]}: the model has no such input. {did_you_mean(unknown[0], sorted(used))}"
                f"Inputs: {', '.join(sorted(used))}"
            )
        self.columns = {
            name: ColumnCounts(column, trained[name], _vocabulary(version, column))
            for name, column in inputs.items()
            if name in used and name not in ignored
        }
        self._known = {column.name for column in dataset.features.columns} | {SEEN}
        self.unknown: dict[str, tuple[int, str]] = {}
        self._columns_only = columns_only
        self.rows = self.not_asked = 0
        self.replay = Replay(self._signatures, tolerance, _rows_at_once(summary))

    def read(self, call: Call) -> None:
        """Counts the columns of a call, and compares its answer if it has one.

        Raises:
            DataError: The model has no such signature, or the request is no request.
        """
        if call.signature not in self._signatures:
            raise DataError(
                f"{call.place}: the pushed model has no signature {call.signature!r}. "
                f"{did_you_mean(call.signature, list(self._signatures))}Signatures: {', '.join(self._signatures)}"
            )
        signature = self._signatures[call.signature]
        specs = specs_of(signature)
        inputs = dict(call.inputs)
        if set(inputs) == {UNNAMED}:
            if len(specs) > 1:
                raise DataError(f"{call.place}: the request names no inputs; expected {', '.join(specs)}")
            inputs = {next(iter(specs)): inputs[UNNAMED]}
        if inputs and _takes_examples(signature) and set(inputs) != set(specs):
            raise DataError(
                f"{call.place}: signature {call.signature!r} takes serialized examples under {_EXAMPLES!r}; the "
                f"request holds {', '.join(inputs)}. A call by columns names its signature"
            )
        rows = max((len(values) for name, values in inputs.items() if _is_list(name, values, specs)), default=0)
        if not rows:
            raise DataError(f"{call.place}: the request holds no row; expected a list of values per input")
        self.rows += rows
        fits = not call.rows_without and set(inputs) == set(specs)
        if _takes_examples(signature):
            self._count_examples(inputs[_EXAMPLES], call.place)
        else:
            self._count_columns(call, inputs, specs, rows)
        even = all(len(values) == rows for name, values in inputs.items() if _is_list(name, values, specs))
        if call.outputs is None or self._columns_only:
            return
        if not fits or not even:
            self.not_asked += rows
            return
        self.replay.add(call, inputs)

    def _count_columns(self, call: Call, inputs: Mapping[str, Any], specs: Mapping[str, Any], rows: int) -> None:
        for name in specs:
            if name in self.columns:
                if name not in inputs:
                    self.columns[name].lacks(rows, call.place)
                    continue
                if without := call.rows_without.get(name):
                    self.columns[name].lacks(without, call.place)
                values = inputs[name]
                self.columns[name].add(values if isinstance(values, list) else [values], call.place)
        for name in inputs:
            if name not in specs:
                self._is_unknown(name, rows, call.place)

    def _count_examples(self, examples: Sequence[Any], place: str) -> None:
        for serialized in examples:
            try:
                features = tf.train.Example.FromString(serialized).features.feature
            except (DecodeError, TypeError):
                raise DataError(f"{place}: examples holds a value that is no serialized tf.Example") from None
            for name, counts in self.columns.items():
                if name not in features:
                    counts.add([[]], place)
                    continue
                kind = features[name].WhichOneof("kind")
                counts.add([list(getattr(features[name], kind).value) if kind else []], place)
            for name in features:
                if name not in self._known:
                    self._is_unknown(name, 1, place)

    def _is_unknown(self, name: str, rows: int, place: str) -> None:
        before, first = self.unknown.get(name, (0, place))
        self.unknown[name] = (before + rows, first)


def find_skew(
    version: Path,
    logs: Sequence[Path],
    statistics: Path,
    thresholds: Thresholds,
    tolerance: float,
    ignored: Collection[str] = (),
    max_bad_lines: int = 0,
    columns_only: bool = False,
) -> SkewReport:
    """Compares a log with the training split and the pushed version, in memory that does not grow with the log.

    Args:
        version: A pushed version.
        logs: Files, see `pipeline.skew.logs`.
        statistics: `FeatureStats.pb` of the version's training split.
        thresholds: What is skew.
        tolerance: Largest difference of an answer that counts as none, relative where the answer is above 1.
        ignored: Columns that are not compared with the training split.
        max_bad_lines: Number of lines that may be no calls.
        columns_only: Whether columns alone are compared, as of a log without answers.

    Raises:
        RecspanError: A file cannot be read, or a line is no call of this model; names file and line.
    """
    reader = LogReader(version, statistics, ignored, tolerance, columns_only)
    report = SkewReport(str(version), columns_only=columns_only, columns=len(reader.columns))
    for call in read_calls(logs):
        try:
            if isinstance(call, DataError):
                raise call
            reader.read(call)
        except DataError as error:
            report.bad_lines.append(str(error))
            if len(report.bad_lines) > max_bad_lines:
                raise
            continue
        report.calls += 1
        report.unanswered += call.outputs is None
        if call.version is not None:
            report.versions[call.version] = report.versions.get(call.version, 0) + 1
    reader.replay.flush()
    report.rows, report.not_asked = reader.rows, reader.not_asked
    report.compared, report.refused = list(reader.replay.answers.values()), reader.replay.refused
    report.measured = list(_measured(reader, report, thresholds))
    return report


def _measured(reader: LogReader, report: SkewReport, thresholds: Thresholds) -> Iterator[Measured]:
    replay = reader.replay
    yield from measures_of_answers(report.compared, replay.refused, replay.refusal, thresholds)
    for counts in reader.columns.values():
        yield from measures_of_column(counts, thresholds)
    for name, (rows, place) in reader.unknown.items():
        yield Measured(name, "unknown column", rows / reader.rows, 0.0, f"from {place}")


def _rows_at_once(summary: Mapping[str, Any]) -> int:
    """Rows that a version is asked for at once. One that retrieves makes a score for each of its items and each row."""
    items = summary.get("retrieval_index", {}).get("candidates") or summary.get(TWO_STAGE, {}).get(ITEMS)
    return min(_ROWS_AT_ONCE, queries_at_once(items)) if items else _ROWS_AT_ONCE


def _takes_examples(signature: Any) -> bool:
    return set(specs_of(signature)) == {_EXAMPLES}


def _is_list(name: str, values: Any, specs: Mapping[str, Any]) -> bool:
    return isinstance(values, list) and (name not in specs or specs[name].shape.rank != 0)


def _vocabulary(version: Path, column: object) -> frozenset[bytes] | None:
    """Tokens of a column's table; None for numbers and for tables of hash buckets, which have no file of them."""
    if not isinstance(column, Categorical):
        return None
    file = version / "assets" / column.table
    return frozenset(file.read_bytes().split(b"\n")) if file.is_file() else None
