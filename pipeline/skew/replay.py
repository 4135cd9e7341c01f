"""Asks a pushed version what a log says was asked, and compares the answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from components.retrieval_index.exact import SCORES
from pipeline.skew.logs import UNNAMED, Call

Signature = Callable[..., Mapping[str, tf.Tensor]]
Specs = Mapping[str, tf.TensorSpec]

# Rows that wait, over all kinds of calls.
_WAITING_ROWS = 8192


@dataclass
class AnswerCounts:
    """How often an output differs from the logged one.

    Attributes:
        signature: That answers.
        output: Its name.
        rows: Number of rows compared.
        differing: Rows whose numbers differ by more than the tolerance, or whose texts differ.
        largest: Largest difference of a number; None for texts.
        total: Sum of the rows' largest differences, where both are finite.
        first: Place and values of the first differing row.
    """

    signature: str
    output: str
    rows: int = 0
    differing: int = 0
    largest: float | None = None
    total: float = 0.0
    first: str = ""


@dataclass
class _Waiting:
    """Calls that can be asked as one, each with the number of its rows, and the rows of all."""

    calls: list[tuple[Call, int]] = field(default_factory=list)
    rows: int = 0


class Replay:
    """Compares answers call by call; holds a bounded number of calls.

    Attributes:
        answers: Counts by signature and output.
        refused: Rows that the model refuses and the server answered.
        refusal: Place and reason of the first of these.
    """

    def __init__(self, signatures: Mapping[str, Signature], tolerance: float, rows_at_once: int):
        """Starts with nothing.

        Args:
            signatures: Of the pushed version.
            tolerance: Largest difference of a number that counts as none, relative to the model's own number where
                that is above 1.
            rows_at_once: Rows that the model is asked for at once, as far as calls have no more.
        """
        self.answers: dict[tuple[str, str], AnswerCounts] = {}
        self.refused = 0
        self.refusal = ""
        self._signatures = signatures
        self._tolerance = tolerance
        self._rows_at_once = rows_at_once
        self._waiting: dict[tuple[Any, ...], _Waiting] = {}
        self._rows_waiting = 0

    def add(self, call: Call, inputs: Mapping[str, Any]) -> None:
        """Compares a call, now or with those after it.

        Args:
            call: With an answer.
            inputs: Values by name of the signature's inputs, all of them.
        """
        specs = specs_of(self._signatures[call.signature])
        settings = tuple((name, repr(inputs[name])) for name, spec in specs.items() if spec.shape.rank == 0)
        rows = num_rows(inputs, specs)
        key = (call.signature, settings)
        waiting = self._waiting.setdefault(key, _Waiting())
        waiting.calls.append((replace(call, inputs=inputs), rows))
        waiting.rows += rows
        self._rows_waiting += rows
        if waiting.rows >= self._rows_at_once:
            self._compare(key)
        elif self._rows_waiting >= _WAITING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Compares what waits."""
        for key in list(self._waiting):
            self._compare(key)

    def _compare(self, key: tuple[Any, ...]) -> None:
        waiting = self._waiting.pop(key)
        self._rows_waiting -= waiting.rows
        if not self._compare_calls(waiting.calls):
            # Which of them is it?
            for call in waiting.calls:
                self._compare_calls([call], is_last=True)

    def _compare_calls(self, calls: Sequence[tuple[Call, int]], is_last: bool = False) -> bool:
        """Whether the model takes the calls; counts them as refused if not and there is no other try."""
        signature = self._signatures[calls[0][0].signature]
        try:
            found = ask(signature, specs_of(signature), [call.inputs for call, _ in calls])
        except (ValueError, TypeError, OverflowError, tf.errors.OpError) as error:
            if is_last:
                call, rows = calls[0]
                self.refused += rows
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self.refusal = self.refusal or f"{call.place}: {reason}"
            return False
        start = 0
        for call, rows in calls:
            self._compare_call(call, {name: value[start : start + rows] for name, value in found.items()}, rows)
            start += rows
        return True

    def _compare_call(self, call: Call, found: Mapping[str, np.ndarray], rows: int) -> None:
        assert call.outputs is not None
        logged = dict(call.outputs)
        if set(logged) == {UNNAMED} and len(found) == 1:
            logged = {next(iter(found)): logged[UNNAMED]}
        tied = _tied(found[SCORES], self._tolerance) if SCORES in found else None
        for name in dict.fromkeys((*found, *logged)):
            counts = self.answers.setdefault((call.signature, name), AnswerCounts(call.signature, name))
            counts.rows += rows
            if name not in found or name not in logged:
                counts.differing += rows
                lacking = "the pushed model does not return it" if name not in found else "the log lacks it"
                counts.first = counts.first or f"{call.place}: {lacking}"
                continue
            self._compare_output(counts, call.place, logged[name], found[name], tied)

    def _compare_output(
        self, counts: AnswerCounts, place: str, logged: Any, found: np.ndarray, tied: np.ndarray | None
    ) -> None:
        rows = len(found)
        is_text = found.dtype == object
        try:
            earlier = np.array(logged, object if is_text else np.float64)
        except (ValueError, TypeError):
            earlier = None
        if earlier is None or earlier.shape != found.shape:
            counts.differing += rows
            shape = "not an array of numbers" if earlier is None else f"shape {list(earlier.shape)}"
            counts.first = counts.first or f"{place}: {shape} instead of shape {list(found.shape)}"
            return
        if not rows:
            return
        if is_text:
            differs = earlier != found
            if tied is not None and tied.shape == differs.shape:
                differs &= ~tied
        else:
            differences = _differences(earlier, found)
            of_rows = differences.reshape(rows, -1).max(axis=1, initial=0)
            counts.largest = max(counts.largest or 0.0, float(of_rows.max()))
            counts.total += float(of_rows[np.isfinite(of_rows)].sum())
            differs = differences > self._tolerance * np.maximum(1, np.abs(np.nan_to_num(found, posinf=1, neginf=1)))
        counts.differing += int(differs.reshape(rows, -1).any(axis=1).sum())
        if differs.any() and not counts.first:
            at = tuple(int(index) for index in np.argwhere(differs)[0])
            before, now = (_text(array[at]) for array in (earlier, found))
            row = f", row {at[0] + 1}" if rows > 1 else ""
            counts.first = f"{place}{row}: {before} logged, {now} by the pushed model"


def specs_of(signature: Any) -> Specs:
    """Inputs of a signature by name."""
    return signature.structured_input_signature[1]


def num_rows(inputs: Mapping[str, Any], specs: Specs) -> int:
    """Rows of a request: the length of its first input that has any."""
    name = next(name for name, spec in specs.items() if spec.shape.rank)
    return len(inputs[name])


def ask(signature: Signature, specs: Specs, requests: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Answers to some requests as one, `[rows of all, ...]` by output.

    Lists of different lengths are filled up as clients fill them up.

    Args:
        signature: That is asked.
        specs: Its inputs.
        requests: Values by input. Inputs that belong to whole requests are equal in all of them.

    Raises:
        ValueError, TypeError, OverflowError, tf.errors.OpError: The signature takes no such values.
    """
    tensors = {}
    for name, spec in specs.items():
        if spec.shape.rank == 0:
            tensors[name] = tf.constant(requests[0][name], spec.dtype)
            continue
        cells = [cell for request in requests for cell in request[name]]
        if spec.shape.rank == 2:
            filler = {tf.string: b"", tf.float32: np.nan}.get(spec.dtype, -1)
            width = max([1, *map(len, cells)])
            cells = [[*cell, *[filler] * (width - len(cell))] for cell in cells]
        tensors[name] = tf.constant(cells, spec.dtype)
        # A loaded signature computes something for any shape.
        if tensors[name].shape.rank != spec.shape.rank:
            raise ValueError(f"{name} has {tensors[name].shape.rank} dimensions; expected {spec.shape.rank}")
    return {name: value.numpy() for name, value in signature(**tensors).items()}


def _differences(earlier: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Absolute differences; 0 where both are the same, NaN and infinities included, and infinite where one is NaN."""
    same = (earlier == found) | (np.isnan(earlier) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(earlier - found), nan=np.inf))


def _tied(scores: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Items of lists, `[rows, k]`, whose score is so near to a neighbour's that either order is right."""
    if scores.ndim != 2:
        return None
    with np.errstate(invalid="ignore"):
        near = ~(np.abs(np.diff(scores, axis=1)) > tolerance * np.maximum(1, np.abs(scores[:, 1:])))
    return np.pad(near, [[0, 0], [0, 1]]) | np.pad(near, [[0, 0], [1, 0]])


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value.decode(errors="replace"))
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
