"""Checkpoints across strategies, by value: `python -m tests.tpu.on_logical_devices` prints what came of each in JSON.

Logical devices must be made before TensorFlow starts, hence a process of its own for all of it.
"""

import itertools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import trainer_module  # noqa: F401 (selects Keras 2)

# isort: split
import tensorflow as tf

from tests.tpu.conftest import TABLE_MODELS
from tpu_worker.described_tpu import cpu_backed_tpu_strategy, table_values, uninitialized_embedding_engine
from tpu_worker.models import MODELS, SmallModel
from trainer_module.embeddings.layer import look_up
from trainer_module.optimizers.config import Adagrad, Sgd, TableOptimizerConfig
from trainer_module.training.checkpoints import Checkpoints, Progress

BATCH_SIZE = 32
# Its tables have no slots.
SGD = Sgd(learning_rate=0.1)
STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "default": lambda: tf.distribute.OneDeviceStrategy("/CPU:0"),
    "mirrored": lambda: tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"], tf.distribute.ReductionToOneDevice()),
    "V0": lambda: cpu_backed_tpu_strategy(2, "UNSUPPORTED"),
    "V1": lambda: cpu_backed_tpu_strategy(2, "V1"),
    "V2": lambda: cpu_backed_tpu_strategy(2, "V2", 4),
    "V2 on 4 cores": lambda: cpu_backed_tpu_strategy(4, "V2", 4),
}
PAIRS = (
    ("default", "mirrored"),
    ("default", "V0"),
    ("default", "V1"),
    ("default", "V2"),
    ("mirrored", "default"),
    ("V0", "default"),
    ("V1", "default"),
    ("V1", "V2"),
    ("V2", "default"),
    ("V2", "V1"),
    ("V2", "V2"),
    ("V2", "V2 on 4 cores"),
)


@dataclass
class Trained:
    """A model whose variables are made on demand, inside a step, as the training loop makes them."""

    small: SmallModel
    strategy: tf.distribute.Strategy
    seed: int
    optimizer_config: TableOptimizerConfig = SGD

    def __post_init__(self):
        self.blueprint = self.small.blueprint(BATCH_SIZE, self.optimizer_config)
        experiment = self.blueprint.experiment
        training = experiment.training.model_copy(update={"seed": self.seed})
        experiment = experiment.model_copy(update={"training": training})
        object.__setattr__(self.blueprint, "experiment", experiment)
        tf.keras.utils.set_random_seed(self.seed)
        self.model, self.optimizer = self.blueprint.for_training(self.strategy, 3.0)

    def build(self) -> "Trained":
        features, _ = self.small.batch(BATCH_SIZE // self.strategy.num_replicas_in_sync)

        def look_up_once(features):
            look_up(self.model.embedding, self.small.spec, features)

        def step(features):
            self.strategy.run(look_up_once, args=(features,))

        tf.function(step, autograph=False).get_concrete_function(features)
        with self.strategy.scope():
            self.optimizer.make_slots(self.model.trainable_variables, self.model.embedding.trainable_tables)
        return self

    def values(self) -> dict[str, np.ndarray]:
        """Tables by name, and all of the dense part."""
        of_tables = {variable.ref() for variable in self.model.embedding.variables}
        dense = [variable for variable in self.model.variables if variable.ref() not in of_tables]
        return table_values(self.model.embedding) | {f"dense {n}": variable.numpy() for n, variable in enumerate(dense)}

    def slots(self) -> list[tf.Variable]:
        """Shards of all optimizer slots of tables."""
        by_table = self.model.embedding._tpu_embedding._variables.values()
        slots = [slot for variables in by_table for name, slot in variables.items() if name != "parameters"]
        shards = (getattr(slot, "variables", None) or getattr(slot, "values", None) or [slot] for slot in slots)
        return [shard for of_slot in shards for shard in of_slot]


def equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def outcome(trained: Trained, prefix: str, source: dict, initial: dict, before_build: bool) -> str:
    """What a fresh model makes of another's checkpoint: `equal`, `unchanged` (its tables) or the error's type."""
    if not before_build:
        trained.build()
    try:
        tf.train.Checkpoint(model=trained.model).read(prefix).expect_partial()
        now = trained.build().values()
    except tf.errors.OpError as error:
        return type(error).__name__
    if equal(now, source):
        return "equal"
    tables = [table.name for table in trained.small.spec.tables]
    return "unchanged" if all(np.array_equal(now[name], initial[name]) for name in tables) else "mixed"


def resumed(small: SmallModel, strategy: str, directory: str) -> bool:
    """Whether the product's own checkpoints bring back tables, their slots, the dense part and the progress."""
    adagrad = Adagrad(learning_rate=0.1)
    first = Trained(small, STRATEGIES[strategy](), 1, adagrad).build()
    config = first.blueprint.experiment.training
    for slot in first.slots():
        slot.assign_add(tf.ones_like(slot))
    Checkpoints(directory, first.model, first.optimizer, config, fingerprints={}).save(Progress(step=3))
    second = Trained(small, STRATEGIES[strategy](), 2, adagrad).build()
    progress = Checkpoints(directory, second.model, second.optimizer, config, fingerprints={}).resume()
    slots = zip(first.slots(), second.slots(), strict=True)
    same_slots = all(np.array_equal(left.numpy(), right.numpy()) for left, right in slots)
    return progress.step == 3 and equal(first.values(), second.values()) and same_slots


def main() -> None:
    """Prints `restored`, of [model, source, target, before build, outcome], and `resumed`, of [model, strategy, ok]."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    results = {"restored": [], "resumed": []}
    with uninitialized_embedding_engine(), tempfile.TemporaryDirectory() as directory:
        for name in TABLE_MODELS:
            small = MODELS[name]
            initial = {target: Trained(small, make(), seed=2).build().values() for target, make in STRATEGIES.items()}
            for source in {source: None for source, _ in PAIRS}:
                trained = Trained(small, STRATEGIES[source](), seed=1).build()
                prefix = tf.train.Checkpoint(model=trained.model).write(f"{directory}/{name}-{source}")
                targets = [target for from_source, target in PAIRS if from_source == source]
                for target, before_build in itertools.product(targets, (True, False)):
                    fresh = Trained(small, STRATEGIES[target](), seed=2)
                    found = outcome(fresh, prefix, trained.values(), initial[target], before_build)
                    results["restored"].append([name, source, target, before_build, found])
            for strategy in ("default", "V1", "V2"):
                ok = resumed(small, strategy, f"{directory}/{name}-resumed-{strategy}")
                results["resumed"].append([name, strategy, ok])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
