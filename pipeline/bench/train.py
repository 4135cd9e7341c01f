"""`recspan bench train`: how fast the training steps of an experiment are, and what share of it is their input."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.bench.components import Outputs, trainer_arguments
from pipeline.config import PipelineConfig
from trainer_module.models.training_data import TrainingExamples
from trainer_module.run_fn import assemble, make_loop
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import distribute, make_strategy
from trainer_module.training.loop import TrainingLoop

# Calls before the clock starts: the first one traces the step.
_WARM_UP_STEPS = 3
_LEAST_STEPS = 4
# Medians of so many are reported.
_ROUNDS = 5


@dataclass(frozen=True)
class Speed:
    """Of one batch size.

    Attributes:
        batch_size: Examples per step.
        first_batch_seconds: Until the input gave its first batch; with `cache: features`, all rows are transformed.
        whole: Examples per second with the whole input path.
        step: Examples per second of the step alone, on one batch again and again.
    """

    batch_size: int
    first_batch_seconds: float
    whole: float
    step: float

    @property
    def input_percent(self) -> float:
        """Share of a step's time that its input costs beyond what overlaps with the step."""
        return max(0.0, 100 * (1 - self.whole / self.step))

    def row(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "examples_per_second": self.whole,
            "step_alone": self.step,
            "input_percent": self.input_percent,
            "first_batch_seconds": self.first_batch_seconds,
        }


def measure(
    config: PipelineConfig, outputs: Outputs, batch_sizes: Sequence[int], seconds: float, scratch: Path
) -> Iterator[Speed]:
    """Measures one batch size after the other; nothing that was trained is kept.

    Args:
        config: The experiment.
        outputs: Of its components up to Transform.
        batch_sizes: Examples per step over all replicas.
        seconds: Length of a measurement.
        scratch: Directory for files that training writes.
    """
    for size in batch_sizes:
        training = config.training.model_copy(update={"batch_size": size, "warm_start": None})
        sized = config.model_copy(update={"training": training})
        fn_args = FnArgs(**trainer_arguments(sized, outputs, scratch))
        assembly = assemble(fn_args)
        tf.keras.utils.set_random_seed(training.seed)
        strategy = make_strategy(training)
        loop, _, _ = make_loop(assembly, strategy, str(scratch / f"states-{size}"), str(scratch / f"logs-{size}"))
        loop.make_variables(assembly.selection)
        yield _speed(loop, strategy, assembly.examples, training, seconds)


def _speed(
    loop: TrainingLoop,
    strategy: tf.distribute.Strategy,
    examples: TrainingExamples,
    training: TrainingConfig,
    seconds: float,
) -> Speed:
    started = time.perf_counter()
    inputs = iter(distribute(strategy, lambda context: examples.training_batches(training, context)))
    next(inputs)
    first_batch = time.perf_counter() - started
    again = distribute(strategy, lambda context: examples.training_batches(training, context).take(1).cache().repeat())
    rounds = _in_turns(loop, [iter(again), inputs], seconds / _ROUNDS)
    step, whole = (training.batch_size * statistics.median(rates) for rates in rounds)
    return Speed(training.batch_size, first_batch, whole, step)


def _in_turns(loop: TrainingLoop, contenders: Sequence[Any], seconds: float) -> list[list[float]]:
    """Steps per second with the batches of each contender, once per round, so that load changes affect all equally."""

    def take(batches: Any, steps: int) -> float:
        started = time.perf_counter()
        loop.train_steps(batches, tf.constant(steps)).numpy()
        return steps / (time.perf_counter() - started)

    for batches in contenders:
        take(batches, _WARM_UP_STEPS)
    steps = max(_LEAST_STEPS, round(seconds * min(take(batches, _LEAST_STEPS) for batches in contenders)))
    rounds = [[take(batches, steps) for batches in contenders] for _ in range(_ROUNDS)]
    return [list(rates) for rates in zip(*rounds, strict=True)]
