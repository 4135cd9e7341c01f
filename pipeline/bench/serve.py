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
    """Measures every signature that clients call, at every batch size, one request after another.

    Args:
        model_dir: A SavedModel.
        examples: Serialized `tf.Example`s, at least one; requests take them in turn.
        batch_sizes: Examples per request.
        seconds: Length of a measurement.

    Yields:
        Signature, batch size, p50 and p99 of the milliseconds from tensors to answers, requests and examples a second.
    """
    import tensorflow as tf

    from components.pusher.requests import is_for_clients, request

    model = tf.saved_model.load(str(model_dir))
    for name, signature in sorted(model.signatures.items()):
        if not is_for_clients(name):
            continue
        specs, turn = signature.structured_input_signature[1], itertools.cycle(examples)
        for size in batch_sizes:
            batches = [list(itertools.islice(turn, size)) for _ in range(_REQUESTS)]
            yield _row(name, size, latencies(signature, [request(name, specs, batch) for batch in batches], seconds))


def latencies(signature: Callable[..., dict], requests: Sequence[dict[str, Any]], seconds: float) -> np.ndarray:
    """Calls a signature with one request after another.

    Returns:
        Seconds of each call from tensors to answers, `[calls]`.
    """

    def call(request: dict[str, Any]) -> float:
        started = time.perf_counter()
        for answer in signature(**request).values():
            answer.numpy()
        return time.perf_counter() - started

    turn = itertools.cycle(requests)
    for _ in range(_WARM_UP_CALLS):
        call(next(turn))
    found: list[float] = []
    while len(found) < _LEAST_CALLS or sum(found) < seconds:
        found.append(call(next(turn)))
    return np.array(found)


def _row(signature: str, size: int, of_calls: np.ndarray) -> dict[str, Any]:
    per_second = len(of_calls) / float(of_calls.sum())
    p50, p99 = np.percentile(1000 * of_calls, [50, 99])
    return {
        "signature": signature,
        "batch_size": size,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "requests_per_second": per_second,
        "examples_per_second": per_second * size,
    }
