"""The training loop: steps, evaluation, checkpoints, early stopping, logs."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from trainer_module.data.inputs import ExampleReader
from trainer_module.embeddings.layer import Features
from trainer_module.errors import ModelError
from trainer_module.models.layers import fold_in
from trainer_module.models.training_data import TrainingExamples
from trainer_module.training.checkpoints import Checkpoints, Progress
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import distribute, evaluation_batch_size, worker_index
from trainer_module.training.interruption import watch_for_preemption
from trainer_module.training.logs import TrainingLogs
from trainer_module.training.split_optimizer import SplitOptimizer

_log = logging.getLogger(__name__)
# One line per call to the devices; a console may show the last one only.
_progress_log = logging.getLogger("trainer_module.progress")


@dataclass(frozen=True)
class TrainingResult:
    """What training came to.

    Attributes:
        best_step: Step of the best weights.
        steps: Steps taken.
        resumed_at: Step at which this process went on; 0 if it started anew.
        metrics: Of the best weights on the selection split.
        selection_metric: Which of them the weights were chosen by; the lower the better.
        checkpoint: Path prefix of the best weights.
        examples_per_second: Over all calls to the devices in this process.
        input_bound_percent: Share of that time in which the devices waited for a batch.
    """

    best_step: int
    steps: int
    resumed_at: int
    metrics: dict[str, float]
    selection_metric: str
    checkpoint: str
    examples_per_second: float
    input_bound_percent: float


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        step: Steps taken.
        metric: Name of the model's selection metric.
        value: Of that metric; the lower the better.
    """

    step: int
    metric: str
    value: float


class Calibration(Protocol):
    """Chooses, before each evaluation, what training leaves open."""

    def sums(self, features: Features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What adds up over batches and replicas, `[n]`; labels and weights are `[batch]`."""
        ...

    def choose(self, sums: np.ndarray) -> None:
        """Sets the model's variables from the total of `sums` over the selection split."""
        ...


class Trainable(Protocol):
    """What the loop asks of a Keras model.

    Attributes:
        embedding: The layer with the tables.
        trainable_variables: All that steps change.
        calibration: Sets what evaluations choose beside the best weights; None where that is nothing.
        selection_metric: Which of `metrics_from` chooses the best weights; the lower the better.
    """

    embedding: tf.keras.layers.Layer
    trainable_variables: list[tf.Variable]
    calibration: Calibration | None

    def __call__(self, features: Features) -> tf.Tensor | dict[str, tf.Tensor]:
        """Predictions `[batch, ...]`, one or several by name."""
        ...

    @property
    def selection_metric(self) -> str: ...

    def per_example_loss(self, features: Features, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Of a batch, `[batch]`; all randomness follows from `seed`, int32 `[2]`."""
        ...

    def evaluation_sums(self, features: Features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What adds up over batches and replicas, `[n]`; labels and weights are `[batch]`."""
        ...

    def metrics_from(self, sums: np.ndarray) -> dict[str, float]:
        """By name, from the total of `evaluation_sums`."""
        ...


class TrainingLoop:
    """Trains any `Trainable`; the same code runs on every strategy."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: Trainable,
        optimizer: SplitOptimizer,
        config: TrainingConfig,
        checkpoint_dir: str,
        directory: str,
        fingerprints: Mapping[str, str] = MappingProxyType({}),
    ):
        """Prepares the loop.

        Args:
            strategy: Under whose scope `model` and `optimizer` were made.
            model: A Keras model that is `Trainable`.
            optimizer: For the tables and for the rest.
            config: Batch sizes, epochs, patience, checkpoints.
            checkpoint_dir: Of this one training: if it was interrupted, it goes on from what lies there.
            directory: What is kept of the training: TensorBoard's logs and, in `best/`, the best weights with the
                optimizers' slots.
            fingerprints: Of the vocabularies, by table; empty where ids come from elsewhere.
        """
        self._strategy = strategy
        self._model = model
        self._optimizer = optimizer
        self._config = config
        self._eval_batch_size = evaluation_batch_size(config, strategy)
        self._checkpoints = Checkpoints(checkpoint_dir, model, optimizer, config, fingerprints, worker_index(strategy))
        self._directory = directory
        self.train_steps = tf.function(self._train_steps_eagerly)
        self._evaluate_steps = self._total_of(model.evaluation_sums)
        self._calibrate_steps = model.calibration and self._total_of(model.calibration.sums)
        # Autograph is for the loops over steps; a step has no Python control flow on tensors, and converting the
        # model's code with it would take longer than training an epoch of MovieLens 100K.
        self.train_step = tf.autograph.experimental.do_not_convert(self._train_step_eagerly)

        # A TPU's program takes the name of the function that is traced, and "<lambda>" is refused.
        def predict_step(features):
            return strategy.run(model, args=(features,))

        self._predict_step = tf.function(predict_step, autograph=False)

    def fit(
        self,
        train: TrainingExamples,
        selection: ExampleReader,
        start: Callable[[], None] | None = None,
        observe: Callable[[Evaluation], None] | None = None,
    ) -> TrainingResult:
        """Trains until the model's metric on `selection` has not improved for `patience` evaluations; restores the best
        weights.

        In this order: variables are made, the latest checkpoint is restored if there is one, the input starts at the
        step after it, training goes on. After each call to the devices come logs, evaluation, checkpoint, and a look
        at whether the process was asked to stop.

        Args:
            train: What the steps see.
            selection: What evaluations see.
            start: Called before the first step, but not by a training that goes on from a checkpoint; may change the
                initial weights.
            observe: Called after each evaluation; what it raises ends the training there.

        Raises:
            ModelError: The loss became infinite or NaN (names the step).
            Preempted: The process got SIGTERM or Ctrl-C; the state is saved.
        """
        config = self._config
        steps_per_epoch = train.num_examples // config.batch_size
        if not steps_per_epoch:
            # Batches go on over the ends of epochs, so that such a step sees rows several times.
            _log.warning(
                "training.batch_size=%d exceeds the %d examples of the training split: every step sees some of them "
                "several times, and an epoch is one step; a smaller batch learns more from them",
                config.batch_size,
                train.num_examples,
            )
            steps_per_epoch = 1
        last_step = config.steps or config.epochs * steps_per_epoch
        evaluate_every, every = config.evaluate_every or steps_per_epoch, config.checkpoint_every
        selection_batches = self._evaluation_batches(selection)
        self._make_variables(selection_batches)
        progress = self._checkpoints.resume()
        resumed_at = progress.step
        if resumed_at:
            _log.info("going on from the checkpoint of step %d", resumed_at)
        elif start:
            start()
        batches = iter(distribute(self._strategy, lambda context: train.training_batches(config, context, resumed_at)))
        logs, clock = TrainingLogs(self._directory), _Clock(config.batch_size)
        saved_step = resumed_at
        with watch_for_preemption() as preemption, _profile(config, self._directory) as profile:
            while progress.step < last_step and not self._stale(progress, evaluate_every):
                step = progress.step
                to_evaluation = evaluate_every - step % evaluate_every
                num_steps = min(config.steps_per_loop, to_evaluation, last_step - step)
                profile.before(step, num_steps)
                loss, wait = self._timed_steps(batches, num_steps, saved_step, clock)
                progress = replace(progress, step=step + num_steps)
                _progress_log.info(
                    "step %d of at most %d: loss %.4f, %.0f examples/s",
                    progress.step,
                    last_step,
                    loss,
                    clock.last_rate,
                )
                rates = self._optimizer.learning_rates()
                values = {"loss": loss, "examples_per_second": clock.last_rate, "input_bound_percent": wait}
                logs.training(progress.step, values, rates)
                evaluated = progress.step % evaluate_every == 0 or progress.step == last_step
                if evaluated:
                    metrics = self._measured(progress, selection_batches, selection.num_examples, logs)
                    progress = self._kept_if_better(progress, loss, metrics)
                    if observe is not None:
                        metric = self._model.selection_metric
                        observe(Evaluation(progress.step, metric, metrics[metric]))
                due = evaluated if every is None else progress.step // every > saved_step // every
                if due or preemption.requested:
                    self._checkpoints.save(progress)
                    saved_step = progress.step
                if preemption.requested:
                    raise preemption.stopped(f"at step {progress.step} of at most {last_step}")
        logs.flush()
        self._checkpoints.restore_best(progress.best_step)
        best = os.path.join(self._directory, "best", "checkpoint")
        if not worker_index(self._strategy):
            self._checkpoints.export_best(progress.best_step, best)
        return TrainingResult(
            best_step=progress.best_step,
            steps=progress.step,
            resumed_at=resumed_at,
            metrics=dict(progress.best_metrics),
            selection_metric=self._model.selection_metric,
            checkpoint=best,
            examples_per_second=clock.mean_rate,
            input_bound_percent=clock.waiting_percent,
        )

    def make_variables(self, reader: ExampleReader) -> None:
        """Makes all variables and optimizer slots, as `fit` does first, for callers of `train_steps`."""
        self._make_variables(self._evaluation_batches(reader))

    def evaluate(self, reader: ExampleReader) -> dict[str, float]:
        """The model's metrics over all examples of `reader`."""
        return self._evaluate(self._evaluation_batches(reader), reader.num_examples)

    def predict(self, reader: ExampleReader, num_examples: int) -> Any:
        """Predictions of the training model for the first `num_examples` of `reader`.

        Returns:
            A float32 array `[num_examples, ...]`, or several by name, as the model gives them.
        """
        predictions, predicted = [], 0
        for features, _, _ in self._evaluation_batches(reader):
            if predicted >= num_examples:
                break
            predictions.append(tf.nest.map_structure(self._local_values, self._predict_step(features)))
            predicted += len(tf.nest.flatten(predictions[-1])[0])
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts)[:num_examples], *predictions)

    def _local_values(self, per_replica: Any) -> np.ndarray:
        return np.concatenate([part.numpy() for part in self._strategy.experimental_local_results(per_replica)])

    def _make_variables(self, batches: tf.data.Dataset | tf.distribute.DistributedDataset) -> None:
        """Makes all variables and optimizer slots, so that a checkpoint finds where to put its values."""
        features, _, _ = next(iter(batches))
        self._predict_step(features)
        with self._strategy.scope():
            self._optimizer.make_slots(self._model.trainable_variables, self._model.embedding.trainable_tables)

    def _timed_steps(self, batches, num_steps: int, saved_step: int, clock: "_Clock") -> tuple[float, float]:
        """Takes `num_steps` steps; returns their mean loss and the percentage of time spent waiting for batches."""
        started = time.monotonic()
        loss, first_bad_step, waited = (float(x) for x in self.train_steps(batches, tf.constant(num_steps)))
        clock.add(num_steps, time.monotonic() - started, waited)
        if first_bad_step >= 0:
            kept = f"the checkpoint of step {saved_step} is kept" if saved_step else "there was no checkpoint yet"
            raise ModelError(
                f"the training loss is not finite at step {first_bad_step:.0f}; {kept}. Lower "
                "training.embedding_optimizer.learning_rate or training.dense_optimizer.learning_rate, or set "
                "training.clip_norm"
            )
        return loss, clock.last_waiting_percent

    def _measured(self, progress: Progress, batches, num_examples: int, logs: TrainingLogs) -> dict[str, float]:
        """Calibrates and evaluates; returns the model's metrics."""
        if self._calibrate_steps is not None:
            self._model.calibration.choose(self._total(self._calibrate_steps, batches, num_examples))
        metrics = self._evaluate(batches, num_examples)
        logs.evaluation(progress.step, metrics, self._model.embedding.trainable_tables)
        return metrics

    def _kept_if_better(self, progress: Progress, loss: float, metrics: dict[str, float]) -> Progress:
        """Keeps the weights if they are the ones to export so far."""
        metric = self._model.selection_metric
        first, keep_last = not progress.best_step, self._config.keep == "last"
        improved = first or keep_last or metrics[metric] < progress.best_metrics[metric]
        _log.info(
            "step %d: loss %.4f, selection %s %.4f%s",
            progress.step,
            loss,
            metric,
            metrics[metric],
            " (best)" if improved and not keep_last else "",
        )
        if not improved:
            return progress
        self._checkpoints.save_best(progress.step)
        return replace(progress, best_step=progress.step, best_metrics=metrics)

    def _stale(self, progress: Progress, evaluate_every: int) -> bool:
        """Whether nothing has improved for `patience` evaluations."""
        since = progress.step - progress.best_step
        return bool(progress.best_step) and since >= self._config.patience * evaluate_every

    def _evaluation_batches(self, reader: ExampleReader) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        return distribute(
            self._strategy, lambda context: reader.evaluation_batches(self._eval_batch_size, self._config, context)
        )

    def _evaluate(self, batches, num_examples: int) -> dict[str, float]:
        return self._model.metrics_from(self._total(self._evaluate_steps, batches, num_examples))

    def _total(self, steps, batches, num_examples: int) -> np.ndarray:
        """The total of what `_total_of` was given over all batches, `[n]`."""
        return steps(iter(batches), tf.constant(math.ceil(num_examples / self._eval_batch_size))).numpy()

    def _train_steps_eagerly(self, batches, num_steps: tf.Tensor) -> tf.Tensor:
        """Mean loss, first step whose loss was not finite (or -1), and seconds spent waiting for batches, `[3]`."""
        # In float64, which holds any step's number.
        total, first_bad_step, waited = (tf.constant(value, tf.float64) for value in (0, -1, 0))
        for _ in tf.range(num_steps):
            asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                batch = next(batches)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited += tf.timestamp() - asked
            losses = self._strategy.run(self.train_step, args=batch)
            loss = self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
            bad = tf.logical_and(first_bad_step < 0, tf.logical_not(tf.math.is_finite(loss)))
            first_bad_step = tf.where(bad, tf.cast(self._optimizer.step, tf.float64), first_bad_step)
            total += tf.cast(loss, tf.float64)
        return tf.stack([total / tf.cast(num_steps, tf.float64), first_bad_step, waited])

    def _train_step_eagerly(self, features, labels: tf.Tensor) -> tf.Tensor:
        """One step on one replica: its share of the loss, a scalar."""
        with tf.GradientTape() as tape:
            # Gradients are summed over replicas, hence the division by the global batch.
            losses = self._model.per_example_loss(features, labels, self._step_seed())
            loss = tf.reduce_sum(losses) / self._config.batch_size
        variables = self._model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply(gradients, variables, self._model.embedding.trainable_tables)
        return loss

    def _step_seed(self) -> tf.Tensor:
        """Randomness of this step on this replica, int32 `[2]`."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self._optimizer.step.read_value(), tf.int32)
        return fold_in(tf.stack([self._config.seed, step]), replica)

    def _total_of(self, sums: Callable[[Features, tf.Tensor, tf.Tensor], tf.Tensor]):
        """Compiles the total of `sums`, which is `[n]` for a batch on a replica, over so many batches."""

        # A TPU's program takes the name of the function that is traced.
        def evaluate_step(features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            return sums(features, labels, weights)

        step = tf.autograph.experimental.do_not_convert(evaluate_step)

        def of_batch(batches) -> tf.Tensor:
            return self._strategy.reduce(
                tf.distribute.ReduceOp.SUM, self._strategy.run(step, args=next(batches)), axis=None
            )

        def total_of_batches(batches, num_batches: tf.Tensor) -> tf.Tensor:
            total = of_batch(batches)
            for _ in tf.range(num_batches - 1):
                total += of_batch(batches)
            return total

        return tf.function(total_of_batches)


class _Clock:
    """Throughput of the last call to the devices and of all."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        self.last_rate, self.last_waiting_percent = 0.0, 0.0

    def add(self, steps: int, seconds: float, waited: float) -> None:
        self._steps += steps
        self._seconds += seconds
        self._waited += waited
        self.last_rate = steps * self._batch_size / seconds
        self.last_waiting_percent = 100 * waited / seconds

    @property
    def mean_rate(self) -> float:
        return self._steps * self._batch_size / self._seconds if self._steps else 0.0

    @property
    def waiting_percent(self) -> float:
        return 100 * self._waited / self._seconds if self._steps else 0.0


class _Profile:
    """Records the calls to the devices that touch the configured steps."""

    def __init__(self, first: int, last: int, directory: str):
        self._first, self._last, self._directory = first, last, directory
        self._running = False

    def before(self, step: int, num_steps: int) -> None:
        """Starts or stops according to the steps `step + 1` to `step + num_steps`, which come next."""
        wanted = step < self._last and step + num_steps >= self._first
        if wanted and not self._running:
            tf.profiler.experimental.start(self._directory)
        elif self._running and not wanted:
            tf.profiler.experimental.stop()
        self._running = wanted

    def stop(self) -> None:
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False


@contextmanager
def _profile(config: TrainingConfig, directory: str) -> Iterator[_Profile]:
    # Steps count from 1, so that this range is empty.
    first, last = config.profile_steps or (1, 0)
    profile = _Profile(first, last, directory)
    try:
        yield profile
    finally:
        profile.stop()
