"""Compares the speed of the product's ExampleGen with TFX's CsvExampleGen on the same rows and columns.

python -m benchmarks.example_gen --rows 1000000
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import typer
from rich.console import Console
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent

from benchmarks.machine import measured_on
from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.generated.ratings import write_synthetic
from components.example_gen.rows import SPLITS
from pipeline.beam import in_process_args
from trainer_module.data.datasets.movielens import SYNTHETIC
from trainer_module.data.example_files import read_file

_RESULT = Path(__file__).parent / "results" / "example_gen.md"
_PACKAGES = ("tfx", "tensorflow", "apache-beam", "pyarrow")


def main(
    rows: Annotated[int, typer.Option(help="Number of synthetic ratings.", min=1000)] = 1_000_000,
    repetitions: Annotated[int, typer.Option(help="Runs of the product's component.", min=1)] = 3,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Measure both components, print a table and write it to a file."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch, console.status("generating") as status:
        data_dir, csv_dir = Path(scratch, "data"), Path(scratch, "csv")
        # The proportions of MovieLens 1M.
        write_synthetic(data_dir, rows, num_users=max(100, rows // 166), num_items=max(200, rows // 270), seed=0)
        own: list[float] = []
        for repetition in range(repetitions):
            status.update(f"TablesExampleGen, run {repetition + 1} of {repetitions}")
            root = Path(scratch, f"own{repetition}")
            component = TablesExampleGen(str(data_dir), DataConfig(dataset=SYNTHETIC.name))
            own.append(_seconds(component, root))
            console.print(f"TablesExampleGen: {own[-1]:.1f} s")
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
    """Runs a pipeline with one component and returns its time in seconds, without imports."""
    root.mkdir()
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="benchmark",
        pipeline_root=str(root),
        components=[component],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata")),
        beam_pipeline_args=list(in_process_args()),
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
    for path in sorted(map(str, root.glob("*/examples/*/Split-*/*"))):
        yield from read_file(path)


def _write_csv(root: Path, path: Path) -> int:
    """Writes all examples of a run to one CSV file and returns their number. `|` separates values within a cell."""
    columns = SYNTHETIC.spec().features.columns
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
        "A local pipeline with this one component. Import time is not included.",
        "",
        "| component | seconds | rows per second | ratio |",
        "|---|---:|---:|---:|",
        f"| CsvExampleGen | {stock:.1f} | {num_rows / stock:,.0f} | 1 |",
        f"| TablesExampleGen (median of {runs}) | {median:.1f} | {num_rows / median:,.0f} | {stock / median:.1f} |",
        "",
        measured_on(_PACKAGES),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
