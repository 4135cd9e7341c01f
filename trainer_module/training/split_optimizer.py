"""Which optimizer updates which variable, on every strategy."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.optimizers.keras import make_optimizer
from trainer_module.private_members import KerasOptimizer, current_learning_rate, make_slots
from trainer_module.training.config import TrainingConfig


class SplitOptimizer(tf.Module):
    """Applies each table's own optimizer to it and the dense optimizer to all other variables.

    Off TPUs the tables are ordinary variables. On TPUs they are updated inside the embedding layer while the gradient
    is computed; what appears as its variable there is a dummy of one element, whose gradient is zero.

    Attributes:
        step: int64 scalar, the number of steps taken; all schedules read it.
        of_table: Optimizer per table. Tables with one description share one optimizer.
        dense: For all other variables.
    """

    def __init__(
        self,
        step: tf.Variable,
        of_table: Mapping[str, KerasOptimizer],
        dense: KerasOptimizer,
        clip_norm: float | None = None,
    ):
        super().__init__()
        self.step = step
        self.of_table = dict(of_table)
        self.dense = dense
        self._clip_norm = clip_norm

    @classmethod
    def create(cls, spec: FeatureSpec, config: TrainingConfig) -> "SplitOptimizer":
        """Makes all optimizers; call it in the strategy's scope.

        Args:
            spec: Gives the tables and those among their optimizers that are their own.
            config: Gives the other optimizers.
        """
        step = tf.Variable(
            0, trainable=False, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA, name="step"
        )
        configs = {table.name: table.optimizer or config.embedding_optimizer for table in spec.tables}
        distinct = {each: make_optimizer(each, step) for each in dict.fromkeys(configs.values())}
        of_table = {name: distinct[each] for name, each in configs.items()}
        return cls(step, of_table, make_optimizer(config.dense_optimizer, step), config.clip_norm)

    def make_slots(self, variables: Sequence[tf.Variable], tables: Mapping[str, tf.Variable]) -> None:
        """Makes all optimizer slots now rather than in the first step; arguments as in `apply`."""
        for optimizer, (_, group) in self._groups(variables, variables, tables).items():
            make_slots(optimizer, group)

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[tf.Variable],
        tables: Mapping[str, tf.Variable],
    ) -> None:
        """Updates `variables` by `gradients`, both in the same order, and counts the step.

        Args:
            gradients: Of the loss.
            variables: All trainable ones.
            tables: By name, those among `variables` that are embedding tables; empty on TPUs.
        """
        for optimizer, (of_group, group) in self._groups(gradients, variables, tables).items():
            if optimizer is self.dense and self._clip_norm is not None:
                # What counts is the norm of the gradient of the whole batch, so replicas add up first.
                of_group = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, of_group)
                of_group, _ = tf.clip_by_global_norm(of_group, self._clip_norm)
                optimizer.apply_gradients(zip(of_group, group, strict=True), experimental_aggregate_gradients=False)
            else:
                optimizer.apply_gradients(zip(of_group, group, strict=True))
        self.step.assign_add(1)

    def learning_rates(self) -> dict[str, tf.Tensor]:
        """The current learning rates, float32 scalars: `dense` and one per table."""
        return {
            name: current_learning_rate(optimizer) for name, optimizer in {"dense": self.dense, **self.of_table}.items()
        }

    def _groups(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], tables: Mapping[str, tf.Variable]
    ) -> dict[KerasOptimizer, tuple[list[tf.Tensor], list[tf.Variable]]]:
        """Gradients and variables by the optimizer that is in charge of them."""
        owner = {table.ref(): self.of_table[name] for name, table in tables.items()}
        groups: dict[KerasOptimizer, tuple[list[tf.Tensor], list[tf.Variable]]] = {}
        for gradient, variable in zip(gradients, variables, strict=True):
            of_group, group = groups.setdefault(owner.get(variable.ref(), self.dense), ([], []))
            of_group.append(gradient)
            group.append(variable)
        return groups
