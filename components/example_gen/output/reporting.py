"""How outcomes of an ingestion are gathered on Beam and published beside the examples."""

import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types

from components.example_gen.output.outcome import Outcome, combine
from components.example_gen.output.payload import Payload
from components.example_gen.output.writer import describe
from components.example_gen.rows import SPLITS

QUARANTINE_FILE = os.path.join("quarantine", "bad_rows.jsonl")

_OUTCOME_FILE = "outcome.json"

_log = logging.getLogger(__name__)


class WriteOutcome(beam.PTransform):
    """From the outcomes of blocks to one file beside the examples, for `take_outcome`."""

    def __init__(self, examples_uri: str, max_bad_rows: int):
        """Says where.

        Args:
            examples_uri: Of the artifact.
            max_bad_rows: So many bad rows are kept.
        """
        super().__init__()
        self._path = os.path.join(examples_uri, _OUTCOME_FILE)
        self._max_bad_rows = max_bad_rows

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection | beam.pvalue.PValue:
        return (
            pcoll
            | "CombineOutcomes" >> beam.CombineGlobally(_CombineOutcomes(self._max_bad_rows))
            | "WriteOutcome" >> beam.Map(_write, self._path)
        )


def take_outcome(examples_uri: str) -> Outcome:
    """Reads what `WriteOutcome` wrote, and removes it."""
    path = os.path.join(examples_uri, _OUTCOME_FILE)
    with tf.io.gfile.GFile(path) as file:
        outcome = Outcome.from_json(file.read())
    tf.io.gfile.remove(path)
    return outcome


def publish(artifact: types.Artifact, outcome: Outcome, payload: Payload) -> None:
    """Describes written examples.

    Args:
        artifact: Gets the custom properties `bad_rows`, `rows_train`, `rows_eval` and `rows_test` (int) and, if bad
            rows were tolerated, these as JSON lines in `QUARANTINE_FILE`.
        outcome: Of the whole ingestion.
        payload: Format of the examples.
    """
    if outcome.num_bad_rows:
        path = os.path.join(artifact.uri, QUARANTINE_FILE)
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(path, "w") as file:
            for row in outcome.bad_rows:
                file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
        _log.warning("%d bad row(s) set aside in %s", outcome.num_bad_rows, QUARANTINE_FILE)
    describe(artifact, payload)
    artifact.set_int_custom_property("bad_rows", outcome.num_bad_rows)
    artifact.set_int_custom_property("dropped_rows", outcome.num_dropped_rows)
    if outcome.num_dropped_rows:
        _log.info("%d rows without a positive label are left out", outcome.num_dropped_rows)
    for split, count in zip(SPLITS, outcome.split_rows, strict=True):
        artifact.set_int_custom_property(f"rows_{split}", count)
        _log.info("split %s: %d rows", split, count)


# Values, or merged values of equally many.
_MERGED_TOGETHER = 16


class MergeAll(beam.CombineFn):
    """Makes one value of many; there must be one at least.

    Values wait until some that hold equally many can be merged, so that none is merged more often than the logarithm
    of their number. A set of all tokens would else be gone through for each block of rows.
    """

    def __init__(self, merge: Callable[[list[Any]], Any]):
        """Says how.

        Args:
            merge: From a list of values to one; associative and commutative.
        """
        self._merge = merge

    def create_accumulator(self) -> list[tuple[int, Any]]:
        return []

    def add_input(self, mutable_accumulator: list[tuple[int, Any]], element: Any) -> list[tuple[int, Any]]:
        parts = mutable_accumulator
        parts.append((1, element))
        while len(parts) >= _MERGED_TOGETHER and parts[-_MERGED_TOGETHER][0] <= parts[-1][0]:
            parts[-_MERGED_TOGETHER:] = [self._merged(parts[-_MERGED_TOGETHER:])]
        return parts

    def merge_accumulators(self, accumulators: Iterable[list[tuple[int, Any]]]) -> list[tuple[int, Any]]:
        parts = [part for accumulator in accumulators for part in accumulator]
        return [self._merged(parts)] if parts else []

    def extract_output(self, accumulator: list[tuple[int, Any]]) -> Any:
        _, whole = self._merged(accumulator)
        return whole

    def _merged(self, parts: list[tuple[int, Any]]) -> tuple[int, Any]:
        if len(parts) == 1:
            return parts[0]
        return sum(count for count, _ in parts), self._merge([value for _, value in parts])


class _CombineOutcomes(beam.CombineFn):
    def __init__(self, max_bad_rows: int):
        self._max_bad_rows = max_bad_rows

    def create_accumulator(self) -> Outcome:
        return Outcome()

    def add_input(self, mutable_accumulator: Outcome, element: Outcome) -> Outcome:
        return combine([mutable_accumulator, element], self._max_bad_rows)

    def merge_accumulators(self, accumulators: Iterable[Outcome]) -> Outcome:
        return combine(accumulators, self._max_bad_rows)

    def extract_output(self, accumulator: Outcome) -> Outcome:
        return accumulator


def _write(outcome: Outcome, path: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(outcome.to_json())
