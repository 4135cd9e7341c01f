"""What TensorBoard shows of a training."""

from collections.abc import Mapping

import tensorflow as tf

# Rows of a table whose norm is looked at; reading all of a large table would cost more than a step.
_SAMPLED_ROWS = 1000


class TrainingLogs:
    """Scalars of one training, by step.

    `loss`, `examples_per_second` and `input_bound_percent` (share of the time in which the devices waited for the next
    batch) are means since the last entry; `learning_rate/*` are those of the next step; `eval/*` are metrics of the
    selection split; `row_norm/TABLE` is the mean Euclidean norm of a table's first rows.
    """

    def __init__(self, directory: str):
        self._writer = tf.summary.create_file_writer(directory)

    def training(self, step: int, values: Mapping[str, float], rates: Mapping[str, tf.Tensor]) -> None:
        """Logs one call to the devices."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            for name, rate in rates.items():
                tf.summary.scalar(f"learning_rate/{name}", rate)

    def evaluation(self, step: int, metrics: Mapping[str, float], tables: Mapping[str, tf.Variable]) -> None:
        """Logs an evaluation; `tables` are those that can be read where training runs."""
        with self._writer.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(f"eval/{name}", value)
            for name, table in tables.items():
                tf.summary.scalar(f"row_norm/{name}", tf.reduce_mean(tf.norm(table[:_SAMPLED_ROWS], axis=1)))

    def flush(self) -> None:
        self._writer.flush()
