"""The transform graph is that of TFX's own executor."""

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format
from tfx.components.transform import executor as stock
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import transform_pb2
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import encode_split_names
from tfx.utils import json_utils, proto_utils
from tfx_bsl.tfxio import tensor_representation_util
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter, TensorAdapterConfig

from components.example_gen.output.writer import describe
from components.transform.component import Executor
from pipeline.beam import in_process_args
from trainer_module.data.example_files import write_parquet
from trainer_module.data.features import (
    Categorical,
    Context,
    ExampleWeight,
    FeatureSpec,
    HashBuckets,
    Label,
    Numeric,
    Table,
    Vocabulary,
    Weights,
)
from trainer_module.data.preprocessing import analyzed_columns, preprocessing_fn
from trainer_module.data.schema import derive_schema
from trainer_module.data.spec import DatasetSpec

NUM_ROWS = 500
LEARNED = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Categorical(name="item", table="item"),
        Categorical(name="tags", table="tags", multivalent=True, weights="strengths"),
        Weights(name="strengths"),
        Categorical(name="seen", table="item", multivalent=True, counted=False),
        Numeric(name="year", required=False),
        ExampleWeight(name="weight"),
        Context(name="note"),
        Label(name="rating"),
    ),
    tables=(
        Table(name="user", vocabulary=HashBuckets(buckets=7)),
        Table(name="item", frequencies=True),
        Table(name="tags", combiner="sum"),
    ),
)
NOTHING_LEARNED = FeatureSpec(
    columns=(Categorical(name="user", table="user"), Label(name="rating")),
    tables=(Table(name="user", vocabulary=HashBuckets(buckets=7)),),
)
# Tokens that are only hashed, or only counted; weights that nothing is learned from; whole numbers.
MIXED = FeatureSpec(
    columns=(
        Categorical(name="user", table="user", dtype="int64"),
        Categorical(name="item", table="item", required=False),
        Categorical(name="tags", table="tags", multivalent=True, weights="strengths"),
        Weights(name="strengths"),
        Categorical(name="seen", table="user", dtype="int64", multivalent=True, counted=False),
        Categorical(name="kind", table="kind"),
        Numeric(name="year", dtype="int64", transform="log1p_z_score"),
        Label(name="rating"),
        Label(name="liked", required=False),
    ),
    tables=(
        Table(name="user", vocabulary=HashBuckets(buckets=7), frequencies=True),
        Table(name="item", vocabulary=HashBuckets(buckets=7)),
        Table(name="tags", vocabulary=HashBuckets(buckets=7)),
        Table(name="kind", vocabulary=Vocabulary(min_frequency=2)),
    ),
)
SPECS = {"learned": LEARNED, "nothing learned": NOTHING_LEARNED}


def rows(spec: FeatureSpec) -> pa.Table:
    random = np.random.default_rng(0)
    lengths = random.integers(3, size=NUM_ROWS)
    columns = {
        "user": [[b"u%d" % user] for user in random.integers(30, size=NUM_ROWS)],
        "item": [[b" i%d" % item] for item in random.zipf(1.3, NUM_ROWS) % 50],
        "tags": [[b"t%d" % tag for tag in random.integers(5, size=length)] for length in lengths],
        "strengths": [list(random.choice([0.5, np.nan], size=length)) for length in lengths],
        "seen": [[b"i%d" % item for item in random.integers(90, size=2)] for _ in range(NUM_ROWS)],
        "year": [[1990.0 + random.normal()] if random.random() < 0.7 else [] for _ in range(NUM_ROWS)],
        "weight": [[value] for value in random.random(NUM_ROWS)],
        "note": [[b"n"]] * NUM_ROWS,
        "rating": [[value] for value in random.random(NUM_ROWS)],
    }
    schema = spec.arrow_schema()
    return pa.table([pa.array(columns[name], schema.field(name).type) for name in schema.names], schema=schema)


@pytest.fixture(scope="module", params=SPECS)
def inputs(request, tmp_path_factory) -> tuple[FeatureSpec, dict[str, list]]:
    """Columns, and the input artifacts of both executors."""
    spec, directory = SPECS[request.param], tmp_path_factory.mktemp("inputs")
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(directory / "examples"), encode_split_names(["train", "eval"])
    describe(examples, "parquet")
    for split in ("train", "eval"):
        (directory / "examples" / f"Split-{split}").mkdir(parents=True)
        write_parquet(f"{examples.uri}/Split-{split}/data_parquet-0.parquet", rows(spec))
    schema = standard_artifacts.Schema()
    schema.uri = str(directory / "schema")
    (directory / "schema").mkdir()
    text = text_format.MessageToString(derive_schema(DatasetSpec(name="small", features=spec, task="rating")))
    (directory / "schema" / "schema.pbtxt").write_text(text)
    return spec, {"examples": [examples], "schema": [schema]}


def graph_of(executor: type[BaseBeamExecutor], inputs: dict[str, list], properties: dict, directory: Path) -> Path:
    graph = standard_artifacts.TransformGraph()
    graph.uri = str(directory / executor.__module__)
    context = BaseBeamExecutor.Context(list(in_process_args()), tmp_dir=str(directory / "scratch"), unique_id="1")
    executor(context).Do(inputs, {"transform_graph": [graph]}, properties)
    return Path(graph.uri)


@pytest.fixture(scope="module")
def graphs(inputs, tmp_path_factory) -> tuple[Path, Path]:
    """The graph of this product's executor, and of TFX's."""
    spec, artifacts = inputs
    directory, features = tmp_path_factory.mktemp("graphs"), spec.for_preprocessing().model_dump_json()
    splits = transform_pb2.SplitsConfig(analyze=["train"], transform=["train"])
    of_stock = {
        "preprocessing_fn": "trainer_module.data.preprocessing.preprocessing_fn",
        "custom_config": json_utils.dumps({"features": features}),
        "splits_config": proto_utils.proto_to_json(splits),
        "disable_statistics": 1,
    }
    return (
        graph_of(Executor, artifacts, {"features": features}, directory),
        graph_of(stock.Executor, artifacts, of_stock, directory),
    )


@pytest.mark.parametrize("spec", [LEARNED, NOTHING_LEARNED, MIXED], ids=["learned", "nothing learned", "mixed"])
def test_the_columns_that_are_read_are_those_that_the_analysis_needs(spec):
    schema = derive_schema(DatasetSpec(name="small", features=spec, task="rating"))
    representations = tensor_representation_util.InferTensorRepresentationsFromMixedSchema(schema)
    adapter = TensorAdapter(TensorAdapterConfig(spec.arrow_schema(), representations))
    preprocess = functools.partial(preprocessing_fn, custom_config={"features": spec.model_dump_json()})
    needed = tft.get_analyze_input_columns(preprocess, adapter.OriginalTypeSpecs())
    assert sorted(analyzed_columns(spec)) == sorted(needed)


def test_the_files_are_those_of_tfx(graphs):
    own, expected = ({str(file.relative_to(graph)): file for file in graph.rglob("*")} for graph in graphs)
    assert own.keys() == expected.keys()
    for name, file in expected.items():
        if file.is_file() and ("assets/" in name or "metadata/" in name):
            assert own[name].read_bytes() == file.read_bytes(), name


def test_the_graph_computes_what_that_of_tfx_computes(inputs, graphs):
    spec, _ = inputs
    batch = rows(spec)
    own, expected = (
        output.transform_features_layer()(
            {
                name: as_tensor(batch[name].combine_chunks(), tensor)
                for name, tensor in output.raw_feature_spec().items()
            }
        )
        for output in (tft.TFTransformOutput(str(graph)) for graph in graphs)
    )
    assert own.keys() == expected.keys()
    for name, tensor in expected.items():
        for part, expected_part in zip(
            tf.nest.flatten(own[name], expand_composites=True),
            tf.nest.flatten(tensor, expand_composites=True),
            strict=True,
        ):
            np.testing.assert_array_equal(part, expected_part, name)


def as_tensor(column: pa.LargeListArray, kind: object) -> tf.Tensor | tf.SparseTensor:
    lists = tf.ragged.constant(
        column.to_pylist(), tf.string if pa.types.is_large_binary(column.type.value_type) else tf.float32
    )
    return lists.to_tensor() if isinstance(kind, tf.io.FixedLenFeature) else lists.to_sparse()
