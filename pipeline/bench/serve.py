"""`recspan bench serve`: latency and throughput of a pushed model's signatures on one core."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from components.pusher.publish import latest_version
from trainer_module.errors import ModelError

# Requests of different rows, so that a model does not answer from the processor's cache.
_REQUESTS = 16
_WARM_UP_CALLS = 3
_LEAST_CALLS = 20


def pushed(serving: Path) -> Path:
    """The newest version of a pipeline.

    Raises:
        ModelError: There is none.
    """
    version = latest_version(serving)
    if version is None:
        raise ModelError(f"no pushed model in {serving}; `recspan pipeline run` with the same experiment makes one")
    return version


@contextmanager
def one_core() -> Iterator[None]:
    """Binds this thread, and the threads that it starts, to one of the cores that the process may use.

    To be entered before TensorFlow starts its runtime, which makes as many threads as there are cores.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure(
    model_dir: Path, examples: Sequence[bytes], batch_sizes: Sequence[int], seconds: float
) -> Iterator[dict[str, Any]]:
    """Measures every signature at every batch size, one request after another.

    Args:
        model_dir: A SavedModel.
        examples: Serialized `tf.Example`s, at least one; requests take them in turn.
        batch_sizes: Examples per request.
        seconds: Length of a measurement.

    Yields:
        Signature, batch size, p50 and p99 of the milliseconds from tensors to answers, requests and examples a second.
    """
    import tensorflow as tf

    model = tf.saved_model.load(str(model_dir))
    for name, signature in sorted(model.signatures.items()):
        if _takes_columns_of_examples(signature):
            for size in batch_sizes:
                latencies = _latencies(signature, _requests(signature, examples, size), seconds)
                yield _row(name, size, latencies)


def _takes_columns_of_examples(signature: Any) -> bool:
    """Whether a request can be made from examples: every input has an axis of the batch."""
    return all(spec.shape.rank for spec in signature.structured_input_signature[1].values())


def _requests(signature: Any, examples: Sequence[bytes], size: int) -> list[dict[str, Any]]:
    import tensorflow as tf

    from components.pusher.verify import request_columns

    specs, turn = signature.structured_input_signature[1], itertools.cycle(examples)
    batches = [list(itertools.islice(turn, size)) for _ in range(_REQUESTS)]
    if set(specs) == {"examples"}:
        return [{"examples": tf.constant(batch, tf.string)} for batch in batches]
    return [request_columns(batch, specs) for batch in batches]


def _latencies(signature: Callable[..., dict], requests: list[dict[str, Any]], seconds: float) -> np.ndarray:
    """Seconds of each call, `[calls]`."""

    def call(request: dict[str, Any]) -> float:
        started = time.perf_counter()
        for answer in signature(**request).values():
            answer.numpy()
        return time.perf_counter() - started

    turn = itertools.cycle(requests)
    for _ in range(_WARM_UP_CALLS):
        call(next(turn))
    latencies: list[float] = []
    while len(latencies) < _LEAST_CALLS or sum(latencies) < seconds:
        latencies.append(call(next(turn)))
    return np.array(latencies)


def _row(signature: str, size: int, latencies: np.ndarray) -> dict[str, Any]:
    per_second = len(latencies) / float(latencies.sum())
    p50, p99 = np.percentile(1000 * latencies, [50, 99])
    return {
        "signature": signature,
        "batch_size": size,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "requests_per_second": per_second,
        "examples_per_second": per_second * size,
    }
