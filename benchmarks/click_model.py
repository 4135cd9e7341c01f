"""The benchmark workload on TensorFlow: data files, model and loop, and the TensorFlow contenders.

python -m benchmarks.click_model CONTENDER WORKLOAD

runs one contender in this process and prints one JSON line; see `benchmarks.training`.
"""

import json
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

import trainer_module  # noqa: F401 (selects Keras 2)

import tensorflow as tf  # isort: skip

from benchmarks.workload import Workload, peak_memory, throughput
from trainer_module.data.example_files import write_parquet
from trainer_module.data.features import Categorical, FeatureSpec, Label, Numeric, Table
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.initializers import Constant
from trainer_module.embeddings.layer import embedding_layer, feature_configs
from trainer_module.models.config import DlrmConfig
from trainer_module.models.objectives import Click
from trainer_module.models.parts import ModelParts
from trainer_module.models.ranking import RankingModel
from trainer_module.optimizers.config import Adagrad
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import dense_options, distribute, make_strategy
from trainer_module.training.loop import TrainingLoop
from trainer_module.training.split_optimizer import SplitOptimizer

_FILES = 4
_LABEL = "click"


def feature_spec(workload: Workload) -> FeatureSpec:
    """Columns `id_00`, ..., each with its own table, and `number_00`, ..."""
    names = [f"id_{number:02d}" for number in range(len(workload.rows))]
    return FeatureSpec(
        columns=(
            # Every example has exactly one valid id per column, so validation is not needed.
            *(Categorical(name=n, table=n, dtype="int64", validate_weights_and_indices=False) for n in names),
            *(Numeric(name=f"number_{number:02d}") for number in range(workload.num_numbers)),
            Label(name=_LABEL),
        ),
        tables=tuple(Table(name=name) for name in names),
    )


def reader(workload: Workload) -> ExampleReader:
    """The product's input pipeline over the data files, which already contain ids and z-scores."""
    spec = feature_spec(workload)
    return ExampleReader(spec, ModelInputs(spec, dict), [str(workload.file("examples-*.parquet"))])


def training_config(workload: Workload, batch_size: int, **options) -> TrainingConfig:
    """A training config with Adagrad for all variables; `options` sets further keys."""
    adagrad = Adagrad(
        learning_rate=workload.learning_rate, initial_accumulator_value=workload.initial_accumulator_value
    )
    return TrainingConfig(
        strategy="cpu", batch_size=batch_size, embedding_optimizer=adagrad, dense_optimizer=adagrad, **options
    )


def build(workload: Workload, config: TrainingConfig) -> tuple[tf.distribute.Strategy, RankingModel, SplitOptimizer]:
    """Builds the model and the optimizer with all their variables."""
    spec, strategy = feature_spec(workload), make_strategy(config)
    rows = {table.name: rows for table, rows in zip(spec.tables, workload.rows, strict=True)}
    embeddings = EmbeddingsConfig(dim=workload.dim, initializer=Constant(value=0.0))
    with strategy.scope():
        optimizer = SplitOptimizer.create(spec, config)
        configs = feature_configs(spec, rows, embeddings, optimizer.of_table)
        dense = dense_options(config, strategy)
        layer = embedding_layer(configs, spec, embeddings)
        dlrm = DlrmConfig(bottom=workload.bottom, top=workload.top)
        model = dlrm.build(ModelParts(spec, configs, layer, Click(), dense))
        columns = {column.name: tf.zeros([1, 1], column.dtype) for column in spec.inputs}
        strategy.run(model, args=(columns,))
        optimizer.make_slots(model.trainable_variables, model.embedding.trainable_tables)
    return strategy, model, optimizer


def make_loop(
    workload: Workload, config: TrainingConfig, parts: tuple[tf.distribute.Strategy, RankingModel, SplitOptimizer]
) -> TrainingLoop:
    return TrainingLoop(*parts, config, str(workload.file("checkpoints")), str(workload.file("logs")))


def load_values(workload: Workload, model: RankingModel) -> None:
    """Assigns the initial values that all contenders share."""
    tables = model.embedding.trainable_tables
    for number, (name, rows) in enumerate(zip(sorted(tables), workload.rows, strict=True)):
        values = np.fromfile(workload.file(f"table-{number}.f32"), np.float32)
        tables[name].assign(values.reshape(rows, workload.dim))
    of_tables = {table.ref() for table in tables.values()}
    dense = np.load(workload.file("dense.npz"))
    names = [f"{kind}-{number}" for number in range(len(workload.dense_shapes)) for kind in ("kernel", "bias")]
    variables = [variable for variable in model.trainable_variables if variable.ref() not in of_tables]
    for name, variable in zip(names, variables, strict=True):
        variable.assign(dense[name])


def batches_in_memory(
    examples: ExampleReader, strategy: tf.distribute.Strategy, config: TrainingConfig
) -> tf.data.Dataset:
    """One epoch of the product's batches, cached in memory and repeated indefinitely."""
    epoch = distribute(strategy, lambda context: examples.training_batches(config, context))
    epoch = epoch.take(examples.num_examples // config.batch_size).cache()
    # The cache is complete after it has been read to the end.
    for _ in epoch:
        pass
    return epoch.repeat()


def write(workload: Workload) -> None:
    """Writes data and initial values. Clicks depend on the numbers and on the ids of the four smallest tables."""
    random = np.random.default_rng(0)
    count = workload.num_examples
    ids = np.stack([random.integers(rows, size=count) for rows in workload.rows], axis=1)
    numbers = random.standard_normal((count, workload.num_numbers), np.float32)
    effects = sum(
        random.standard_normal(rows)[column] for rows, column in zip(workload.rows[-4:], ids.T[-4:], strict=True)
    )
    logits = numbers @ random.standard_normal(workload.num_numbers) / 2 + effects
    labels = (random.random(count) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    _write_examples(workload, ids, numbers, labels)
    _write_in_order(workload)
    for number, rows in enumerate(workload.rows):
        values = random.random((rows, workload.dim), np.float32)
        ((values - np.float32(0.5)) * np.float32(0.1)).tofile(workload.file(f"table-{number}.f32"))
    dense = {}
    for number, (fan_in, fan_out) in enumerate(workload.dense_shapes):
        limit = (6 / (fan_in + fan_out)) ** 0.5
        dense[f"kernel-{number}"] = random.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32)
        dense[f"bias-{number}"] = np.zeros(fan_out, np.float32)
    np.savez(workload.file("dense.npz"), **dense)


def _write_examples(workload: Workload, ids: np.ndarray, numbers: np.ndarray, labels: np.ndarray) -> None:
    spec = feature_spec(workload)
    columns = dict(zip([c.name for c in spec.columns], [*ids.T, *numbers.T, labels], strict=True))
    schema = spec.arrow_schema()
    for number, rows in enumerate(np.array_split(np.arange(len(labels)), _FILES)):
        offsets = np.arange(len(rows) + 1)
        lists = [pa.LargeListArray.from_arrays(offsets, pa.array(columns[field.name][rows])) for field in schema]
        write_parquet(str(workload.file(f"examples-{number}.parquet")), pa.table(lists, schema=schema))


def _write_in_order(workload: Workload) -> None:
    """Writes the data again in the order of the loop's first epoch, for the contender without TensorFlow."""
    spec, config = feature_spec(workload), training_config(workload, workload.batch_sizes[0])
    batches = reader(workload).training_batches(config, tf.distribute.InputContext())
    batches = list(batches.take(workload.num_examples // config.batch_size))
    for name, columns in (("ids", spec.categorical), ("numbers", spec.numeric)):
        stacked = [np.concatenate([features[column.name] for column in columns], axis=1) for features, _ in batches]
        np.save(workload.file(f"{name}.npy"), np.concatenate(stacked))
    np.save(workload.file("labels.npy"), np.concatenate([labels for _, labels in batches]))


def run_loop(
    workload: Workload,
    caches: Sequence[str],
    bare: bool = False,
    title: str = "the loop",
    checked: bool = True,
    **options,
) -> dict:
    """Measures the product's loop with its own input for each cache setting.

    Args:
        workload: The model and its data.
        caches: Settings of `training.cache`.
        bare: Whether it is also measured with batches in memory.
        title: Name in the report.
        checked: Whether its losses are to be compared with those of the other contenders.
        **options: Settings of `training` for the dense part.
    """
    examples = reader(workload)
    parts = build(workload, training_config(workload, workload.batch_sizes[0], **options))
    load_values(workload, parts[1])
    rates: dict[str, dict[int, float]] = {}
    waiting: dict[str, dict[int, float]] = {}
    losses, peaks = [], {}
    for size in workload.batch_sizes:
        loop = make_loop(workload, training_config(workload, size), parts)

        def measure(name: str, batches: tf.data.Dataset, loop=loop, size=size) -> None:
            iterator, waited = iter(batches), []  # seconds per example, by call

            def run(steps: int) -> float:
                loss, _, seconds = loop.train_steps(iterator, tf.constant(steps)).numpy()
                waited.append(seconds / (steps * size))
                return loss

            if not losses and checked:
                losses.extend(float(run(workload.checked_steps)) for _ in range(2))
            rates.setdefault(name, {})[size] = throughput(run, size, workload.seconds)
            waiting.setdefault(name, {})[size] = 100 * waited[-1] * rates[name][size]

        for cache in caches:
            config = training_config(workload, size, cache=cache)
            context = tf.distribute.InputContext()
            measure(f"{title}, cache={cache}", examples.training_batches(config, context))
        peaks[size] = peak_memory()
        if bare:
            config = training_config(workload, size)
            measure(f"{title}, batches in memory", batches_in_memory(examples, parts[0], config))
    return {"losses": losses, "rates": rates, "waiting": waiting, "peaks": peaks}


class KerasModel(tf.keras.Model):
    """The same model for Keras `fit`. Returns logits `[batch, 1]`, because Keras expands labels to `[batch, 1]`."""

    def __init__(self, dlrm: RankingModel):
        super().__init__()
        self._dlrm = dlrm

    def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        return self._dlrm.scores(features)[:, tf.newaxis]


def run_keras(workload: Workload) -> dict:
    """Measures Keras `fit` on batches in memory."""
    examples = reader(workload)
    strategy, dlrm, optimizer = build(workload, training_config(workload, workload.batch_sizes[0]))
    load_values(workload, dlrm)
    with strategy.scope():
        model = KerasModel(dlrm)
        # This optimizer already has the tables' slots.
        adagrad = next(iter(optimizer.of_table.values()))
        model.compile(adagrad, tf.keras.losses.BinaryCrossentropy(from_logits=True))
    rates, losses, peaks = {}, [], {}
    for size in workload.batch_sizes:
        batches = batches_in_memory(examples, strategy, training_config(workload, size))

        def run(steps: int, epochs: int = 1, batches=batches) -> list[float]:
            return model.fit(batches, steps_per_epoch=steps, epochs=epochs, verbose=0).history["loss"]

        losses = losses or run(workload.checked_steps, 2)
        rates[size] = throughput(run, size, workload.seconds)
        peaks[size] = peak_memory()
    return {"losses": losses, "rates": {"Keras fit": rates}, "waiting": {}, "peaks": peaks}


CONTENDERS: dict[str, Callable[[Workload], dict]] = {
    "loop": lambda workload: run_loop(workload, ["features"], bare=True),
    "inputs": lambda workload: run_loop(workload, ["records", "none"], checked=False),
    "compiled": lambda workload: run_loop(workload, ["features"], title="the loop, jit_compile", jit_compile=True),
    # Rounding to 8 bits changes losses by more than another order of summation does.
    "bfloat16": lambda workload: run_loop(
        workload, ["features"], title="the loop, bfloat16", checked=False, precision="bfloat16"
    ),
    "keras": run_keras,
}


def main() -> None:
    name, path = sys.argv[1:]
    if name == "write":
        write(Workload.load(path))
    else:
        print(json.dumps(CONTENDERS[name](Workload.load(path))))


if __name__ == "__main__":
    main()
