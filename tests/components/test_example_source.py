"""The source of examples: every row once, whatever the payload, from as many files as there are."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from tfx.types import artifact_utils, standard_artifacts

from components.example_gen.output.examples import Examples, Part
from components.example_gen.output.writer import ExampleWriter
from components.example_source import ReadExamples
from pipeline.beam import in_process_args

SCHEMA = pa.schema([("user", pa.large_list(pa.large_binary())), ("rating", pa.large_list(pa.float32()))])


@pytest.fixture(params=["parquet", "tfrecord"])
def examples(request, tmp_path) -> standard_artifacts.Examples:
    """Three files of the split `train` and one of `eval`."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path)
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    writer = ExampleWriter(request.param)
    for split, numbers in (("train", range(3)), ("eval", range(3, 4))):
        uri = artifact_utils.get_split_uri([artifact], split)
        Path(uri).mkdir(parents=True)
        for number in numbers:
            rows = np.arange(5) + 10 * number
            columns = {
                "user": pa.array([[b"u%d" % row] for row in rows], SCHEMA.field("user").type),
                "rating": pa.array([[row] if row % 2 else [] for row in rows], SCHEMA.field("rating").type),
            }
            writer.write_split(uri, number, Examples((Part.of_rows(columns),), SCHEMA))
    return artifact


def read(artifact, splits: list[str], schema: pa.Schema | None, check) -> None:
    with TestPipeline(argv=list(in_process_args(1))) as pipeline:
        assert_that(pipeline | ReadExamples(artifact, splits, schema), check)


@pytest.mark.parametrize("splits", [["train"], ["eval"], ["eval", "train"]])
def test_every_row_of_the_splits_comes_once_with_the_name_of_its_split(examples, splits):
    rows = {"train": (0, 10, 20), "eval": (30,)}

    def check(batches):
        found = sorted((split, user) for split, batch in batches for (user,) in batch.column("user").to_pylist())
        assert found == sorted(
            (split, b"u%d" % (first + row)) for split in splits for first in rows[split] for row in range(5)
        )

    read(examples, splits, None, check)


def test_only_the_columns_of_the_schema_are_read_in_its_types(examples):
    wanted = pa.schema([SCHEMA.field("rating")])

    def check(batches):
        assert batches
        for _, batch in batches:
            assert batch.schema == wanted

    read(examples, ["train"], wanted, check)


def test_a_split_without_files_gives_nothing(examples):
    for file in Path(artifact_utils.get_split_uri([examples], "eval")).iterdir():
        os.remove(file)
    read(examples, ["eval"], None, lambda batches: len(batches) == 0 or pytest.fail(str(batches)))
