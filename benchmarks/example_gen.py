"""Times the product's ExampleGen against TFX's CsvExampleGen, on the same rows with the same columns.

python -m benchmarks.example_gen --rows 1000000
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import tensorflow as tf
import typer
from rich.console import Console
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx_bsl.coders import example_coder

from components.example_gen.component import MovieLensExampleGen
from components.example_gen.config import IngestConfig
from components.example_gen.old_splits import SPLITS
from components.example_gen.synthetic import write_synthetic
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.datasets.movielens import SYNTHETIC

_RESULT = Path(__file__).parent / "results" / "example_gen.md"
_DECODED = 65_536
_PACKAGES = ("tfx", "tensorflow", "apache-beam", "pyarrow")


def main(
    rows: Annotated[int, typer.Option(help="Synthetic ratings.", min=1000)] = 1_000_000,
    repetitions: Annotated[int, typer.Option(help="Runs of the product's component.", min=1)] = 3,
    output: Annotated[Path, typer.Option(help="Where the table goes.")] = _RESULT,
) -> None:
    """Measures both components, prints a table and writes it to a file."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch, console.status("generating") as status:
        data_dir, csv_dir = Path(scratch, "data"), Path(scratch, "csv")
        # The proportions of MovieLens 1M.
        write_synthetic(data_dir, rows, num_users=max(100, rows // 166), num_items=max(200, rows // 270), seed=0)
        own: list[float] = []
        for repetition in range(repetitions):
            status.update(f"MovieLensExampleGen, run {repetition + 1} of {repetitions}")
            root = Path(scratch, f"own{repetition}")
            component = MovieLensExampleGen(str(data_dir), IngestConfig(dataset=SYNTHETIC.name))
            own.append(_seconds(component, root))
            console.print(f"MovieLensExampleGen: {own[-1]:.1f} s")
        status.update("writing the same examples as CSV")
        csv_dir.mkdir()
        num_examples = _write_csv(root, csv_dir / "examples.csv")
        status.update("CsvExampleGen")
        stock = _seconds(
            tfx.components.CsvExampleGen(str(csv_dir), output_config=_three_splits()), Path(scratch, "csv0")
        )
        console.print(f"CsvExampleGen: {stock:.1f} s")
    table = _table(num_examples, stock, own)
    print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table + "\n")


def _seconds(component: BaseComponent, root: Path) -> float:
    """Runs a pipeline of one component; imports are done by now, the rest of a local run counts."""
    root.mkdir()
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="benchmark",
        pipeline_root=str(root),
        components=[component],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata")),
    )
    start = time.perf_counter()
    tfx.orchestration.LocalDagRunner().run(pipeline)
    return time.perf_counter() - start


def _three_splits() -> tfx.proto.Output:
    splits = [
        tfx.proto.SplitConfig.Split(name=name, hash_buckets=n) for name, n in zip(SPLITS, (76, 4, 20), strict=True)
    ]
    return tfx.proto.Output(split_config=tfx.proto.SplitConfig(splits=splits))


def _examples(root: Path) -> Iterator[pa.RecordBatch]:
    files = [str(path) for path in root.glob("*/examples/*/Split-*/*.gz")]
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    for batch in tf.data.TFRecordDataset(files, "GZIP").batch(_DECODED).as_numpy_iterator():
        yield decoder.DecodeBatch(list(batch))


def _write_csv(root: Path, path: Path) -> int:
    """Writes all examples of a run as one CSV file, several values in a cell separated by `|`; returns their number."""
    columns = dataset_spec(SYNTHETIC.name).features.columns
    count = 0
    writer = None
    for batch in _examples(root):
        cells = {}
        for column in columns:
            values = batch.column(column.name)
            if column.multivalent:
                cells[column.name] = pc.binary_join(values.cast(pa.list_(pa.string())), "|")
            else:
                cells[column.name] = pa.array([None if not cell else cell[0] for cell in values.to_pylist()])
                if column.dtype == "string":
                    cells[column.name] = cells[column.name].cast(pa.string())
        table = pa.table(cells)
        writer = writer or pyarrow.csv.CSVWriter(path, table.schema)
        writer.write_table(table)
        count += table.num_rows
    if writer is None:
        raise FileNotFoundError(f"no examples under {root}")
    writer.close()
    return count


def _table(num_rows: int, stock: float, own: list[float]) -> str:
    median = statistics.median(own)
    runs = ", ".join(f"{seconds:.1f}" for seconds in own)
    lines = [
        f"# ExampleGen on {num_rows:,} synthetic ratings",
        "",
        "A local pipeline of the one component, imports apart.",
        "",
        "| component | seconds | rows per second | ratio |",
        "|---|---:|---:|---:|",
        f"| CsvExampleGen | {stock:.1f} | {num_rows / stock:,.0f} | 1 |",
        f"| MovieLensExampleGen (median of {runs}) | {median:.1f} | {num_rows / median:,.0f} | {stock / median:.1f} |",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
        + ".",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
