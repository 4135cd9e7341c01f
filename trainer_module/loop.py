"""The training loop: steps, evaluation, best checkpoint, early stopping, logs."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import tensorflow as tf

from trainer_module.distribution import distribute
from trainer_module.errors import ModelError
from trainer_module.experiment import TrainingConfig
from trainer_module.inputs import ExampleReader
from trainer_module.optimizers import SplitOptimizer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What training came to.

    Attributes:
        best_step: Step of the kept checkpoint.
        steps: Steps taken.
        metrics: Of the kept checkpoint on the selection split.
        checkpoint: Path prefix of the kept checkpoint.
    """

    best_step: int
    steps: int
    metrics: dict[str, float]
    checkpoint: str


class TrainingLoop:
    """Trains a model that has `per_example_loss(features, labels)`; the same code runs on every strategy."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: tf.keras.Model,
        optimizer: SplitOptimizer,
        config: TrainingConfig,
        directory: str,
    ):
        """Prepares the loop.

        Args:
            strategy: Under whose scope `model` and `optimizer` were made.
            model: Called with features, gives predictions `[batch]`; its `embedding` is the layer with the tables.
            optimizer: For the tables and for the rest.
            config: Batch sizes, epochs, patience.
            directory: For the best checkpoint and the TensorBoard logs.
        """
        self._strategy = strategy
        self._model = model
        self._optimizer = optimizer
        self._config = config
        self._directory = directory
        self._train_steps = tf.function(self._train_steps_eagerly)
        self._evaluate_steps = tf.function(self._evaluate_steps_eagerly)
        # Autograph is for the loops over steps; a step has no Python control flow on tensors, and converting the
        # model's code with it would take longer than training an epoch of MovieLens 100K.
        self._train_step = tf.autograph.experimental.do_not_convert(self._train_step_eagerly)
        self._evaluate_step = tf.autograph.experimental.do_not_convert(self._evaluate_step_eagerly)
        self._predict_step = tf.function(lambda features: strategy.run(model, args=(features,)), autograph=False)

    def fit(self, train: ExampleReader, selection: ExampleReader) -> TrainingResult:
        """Trains until the RMSE on `selection` has not improved for `patience` epochs; restores the best weights.

        Raises:
            ModelError: The loss became infinite or NaN, or the split is smaller than one batch.
        """
        config = self._config
        steps_per_epoch = train.num_examples // config.batch_size
        if not steps_per_epoch:
            raise ModelError(
                f"training.batch_size={config.batch_size} exceeds the {train.num_examples} examples of the training "
                "split; choose a smaller batch"
            )
        batches = iter(distribute(self._strategy, lambda context: train.training_batches(config, context)))
        selection_batches = self._evaluation_batches(selection)
        checkpoint = tf.train.Checkpoint(model=self._model)
        prefix = str(PurePath(self._directory, "best", "checkpoint"))
        writer = tf.summary.create_file_writer(self._directory)
        best: TrainingResult | None = None
        for epoch in range(1, config.epochs + 1):
            started = time.monotonic()
            loss = float(self._train_steps(batches, tf.constant(steps_per_epoch)))
            examples_per_second = steps_per_epoch * config.batch_size / (time.monotonic() - started)
            step = epoch * steps_per_epoch
            if not math.isfinite(loss):
                raise ModelError(
                    f"the training loss became {loss} between steps {step - steps_per_epoch} and {step}; lower "
                    "training.embedding_optimizer.learning_rate or training.dense_optimizer.learning_rate"
                )
            metrics = self._evaluate(selection_batches, selection.num_examples)
            with writer.as_default(step=step):
                tf.summary.scalar("loss", loss)
                tf.summary.scalar("examples_per_second", examples_per_second)
                for name, value in metrics.items():
                    tf.summary.scalar(f"eval/{name}", value)
            improved = best is None or metrics["rmse"] < best.metrics["rmse"]
            _log.info(
                "epoch %d of at most %d: loss %.4f, selection RMSE %.4f%s, %.0f examples/s",
                epoch,
                config.epochs,
                loss,
                metrics["rmse"],
                " (best)" if improved else "",
                examples_per_second,
            )
            if improved:
                checkpoint.write(prefix)
                best = TrainingResult(step, step, metrics, prefix)
            elif step - best.best_step >= config.patience * steps_per_epoch:
                break
        checkpoint.read(prefix).assert_existing_objects_matched()
        return TrainingResult(best.best_step, step, best.metrics, prefix)

    def evaluate(self, reader: ExampleReader) -> dict[str, float]:
        """RMSE and MAE over all examples of `reader`."""
        return self._evaluate(self._evaluation_batches(reader), reader.num_examples)

    def predict(self, reader: ExampleReader, num_examples: int) -> np.ndarray:
        """Predictions of the training model for the first `num_examples` of `reader`, float32 `[num_examples]`."""
        predictions: list[np.ndarray] = []
        for features, _, _ in self._evaluation_batches(reader):
            if sum(map(len, predictions)) >= num_examples:
                break
            per_replica = self._predict_step(features)
            predictions += [part.numpy() for part in self._strategy.experimental_local_results(per_replica)]
        return np.concatenate(predictions)[:num_examples]

    def _evaluation_batches(self, reader: ExampleReader) -> tf.distribute.DistributedDataset:
        return distribute(self._strategy, lambda context: reader.evaluation_batches(self._config, context))

    def _evaluate(self, batches: tf.distribute.DistributedDataset, num_examples: int) -> dict[str, float]:
        num_batches = tf.constant(math.ceil(num_examples / self._config.eval_batch_size))
        squared, absolute, count = (float(x) for x in self._evaluate_steps(iter(batches), num_batches))
        return {"rmse": math.sqrt(squared / count), "mae": absolute / count}

    def _train_steps_eagerly(self, batches, num_steps: tf.Tensor) -> tf.Tensor:
        """Mean loss over `num_steps` steps."""
        total = tf.constant(0.0)
        for _ in tf.range(num_steps):
            losses = self._strategy.run(self._train_step, args=next(batches))
            total += self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        return total / tf.cast(num_steps, tf.float32)

    def _train_step_eagerly(self, features, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            # Gradients are summed over replicas, hence the division by the global batch.
            loss = tf.reduce_sum(self._model.per_example_loss(features, labels)) / self._config.batch_size
        variables = self._model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply(gradients, variables, self._model.embedding.trainable_variables)
        return loss

    def _evaluate_steps_eagerly(self, batches, num_batches: tf.Tensor) -> tf.Tensor:
        """Sums of squared error, absolute error and weight, `[3]`."""
        total = tf.zeros([3])
        for _ in tf.range(num_batches):
            sums = self._strategy.run(self._evaluate_step, args=next(batches))
            total += self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        return total

    def _evaluate_step_eagerly(self, features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        error = self._model(features) - labels
        return tf.stack([tf.reduce_sum(weights * x) for x in (tf.square(error), tf.abs(error), tf.ones_like(error))])
