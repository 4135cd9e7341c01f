"""Where the time of a DLRM's training step goes: the parts of the step, each by itself, and what memory allows.

python -m benchmarks.step

Every part runs on the same ids, as a `tf.function` of its own, so the parts do not add up exactly to the whole step.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import trainer_module  # noqa: F401 (selects Keras 2)

import tensorflow as tf  # isort: skip

from benchmarks.click_model import build, feature_spec, make_loop, training_config
from benchmarks.machine import measured_on
from benchmarks.workload import Workload, criteo_rows

_RESULT = Path(__file__).parent / "results" / "step.md"
_PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders")


def main(
    batch_sizes: Annotated[str, typer.Option(help="Comma-separated.")] = "4096,16384",
    repeats: Annotated[int, typer.Option(help="Measurements of each part; medians are reported.", min=1)] = 15,
    scale: Annotated[float, typer.Option(help="Scale of table rows; 1 is 26 tables of 2M to 1k rows.", min=1e-6)] = 1.0,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Measure all parts, print a table and write it to a file."""
    sizes = [int(size) for size in batch_sizes.split(",")]
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        workload = Workload(scratch, criteo_rows(scale))
        config = training_config(workload, sizes[0])
        parts = build(workload, config)
        for size in sizes:
            functions = _parts(workload, parts, size)
            found[size] = {name: _milliseconds(function, repeats) for name, function in functions.items()}
    report = _report(workload, found, f"--batch-sizes {batch_sizes} --repeats {repeats} --scale {scale:g}")
    print(report)
    output.write_text(report + "\n")


def _parts(workload: Workload, parts: tuple, size: int) -> dict[str, Callable[[], object]]:
    strategy, model, optimizer = parts
    random = np.random.default_rng(0)
    tables = model.embedding.trainable_tables
    ids = {name: tf.constant(random.integers(table.shape[0], size=size)) for name, table in sorted(tables.items())}
    features = {name: values[:, tf.newaxis] for name, values in ids.items()}
    features |= {c.name: tf.random.normal([size, 1]) for c in feature_spec(workload).numeric}
    labels = tf.cast(tf.random.uniform([size]) < 0.25, tf.float32)
    loop = make_loop(workload, training_config(workload, size), parts)
    rows = {name: tf.gather(tables[name], of_table) for name, of_table in ids.items()}
    gradients = {name: tf.random.normal([size, workload.dim]) for name in ids}

    @tf.function
    def whole_step():
        return strategy.run(loop.train_step, args=(features, labels))

    @tf.function
    def look_up():
        return [tf.gather(tables[name], of_table) for name, of_table in ids.items()]

    of_tables = {table.ref() for table in tables.values()}
    dense = [variable for variable in model.trainable_variables if variable.ref() not in of_tables]

    @tf.function
    def dense_part():
        with tf.GradientTape() as tape:
            tape.watch(rows)
            mean = tf.reduce_mean(model.predict_from(rows, features))
        return tape.gradient(mean, [*rows.values(), *dense])

    @tf.function
    def add_up():
        return [_added_up(ids[name], gradient) for name, gradient in gradients.items()]

    added_up = {name: _added_up(ids[name], gradient) for name, gradient in gradients.items()}

    @tf.function
    def update():
        for name, (distinct, summed) in added_up.items():
            table_optimizer = optimizer.of_table[name]
            tf.raw_ops.ResourceSparseApplyAdagradV2(
                var=tables[name].handle,
                accum=table_optimizer.get_slot(tables[name], "accumulator").handle,
                lr=workload.learning_rate,
                epsilon=workload.epsilon,
                grad=summed,
                indices=distinct,
            )

    arrays = {name: np.zeros(table.shape, np.float32) for name, table in tables.items()}
    order = {name: np.sort(np.unique(of_table)) for name, of_table in ids.items()}

    def memory():
        """Every row that is looked up is read twice and written once, and its accumulator read and written once."""
        for name, array in arrays.items():
            values = array[ids[name].numpy()]
            for _ in range(2):
                array[order[name]] = array[order[name]] + 1
        return values

    return {
        "whole step": whole_step,
        "lookups": look_up,
        "dense part, forward and backward": dense_part,
        "adding up the gradients of equal ids": add_up,
        "Adagrad on the distinct rows": update,
        "numpy reads and writes the same rows": memory,
    }


def _added_up(ids: tf.Tensor, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Distinct ids and the sums of their gradients, as Keras' optimizers compute them."""
    distinct, position = tf.unique(ids)
    return distinct, tf.math.unsorted_segment_sum(gradient, position, tf.shape(distinct)[0])


def _milliseconds(function: Callable[[], object], repeats: int) -> float:
    for _ in range(2):
        function()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def _report(workload: Workload, found: dict[int, dict[str, float]], options: str) -> str:
    lines = [
        "# Where the time of a training step goes",
        "",
        f"`python -m benchmarks.step {options}`",
        "",
        f"The model of [training.md](training.md): {len(workload.rows)} tables with {sum(workload.rows):,} rows of "
        f"{workload.dim} numbers, Adagrad, uniform ids. Milliseconds, and the share of the whole step:",
        "",
        f"| part | {' | '.join(f'batch {size:,}' for size in found)} |",
        f"|---|{'---:|' * len(found)}",
    ]
    for name in next(iter(found.values())):
        cells = [f"{of[name]:.1f} ({of[name] / of['whole step']:.0%})" for of in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rates = ", ".join(f"{size / of['whole step'] * 1000:,.0f} at batch {size:,}" for size, of in found.items())
    lines += ["", f"Examples per second of the whole step: {rates}.", "", measured_on(_PACKAGES)]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
