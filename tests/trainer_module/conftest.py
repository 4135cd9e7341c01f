"""A small dataset spec with a planted rule, its transform graph and its examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from tests.shared import shared_directory
from trainer_module.blueprint import Blueprint
from trainer_module.data.example_files import write_parquet
from trainer_module.data.features import Categorical, Column, FeatureSpec, Label, Numeric, Table, Vocabulary
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.preprocessing import preprocessing_fn
from trainer_module.data.spec import DatasetSpec, Task
from trainer_module.data.vocabularies import Vocabularies
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.experiment import Experiment
from trainer_module.export.sample import SampleRow, choose
from trainer_module.models.config import MultiTaskConfig, RatingModelConfig, TaskHead
from trainer_module.models.goals import Goal, Goals
from trainer_module.models.objectives import Rating
from trainer_module.training.config import TrainingConfig

SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Categorical(name="item", table="item"),
        Categorical(name="tags", table="tags", multivalent=True),
        Categorical(name="main_tag", table="tags"),
        Numeric(name="year", required=False, clip=1.0),
        Label(name="rating"),
    ),
    tables=(
        Table(name="user"),
        Table(name="item", vocabulary=Vocabulary(min_frequency=2, oov_buckets=3), frequencies=True),
        Table(name="tags", combiner="sum", dim=2),
    ),
)


def described(spec: FeatureSpec, task: Task = "rating", **facts) -> DatasetSpec:
    """A dataset with these columns."""
    return DatasetSpec(name="small", features=spec, task=task, **facts)


# The only label, as the goal of a model that may have several.
GOALS = Goals((Goal("rating", 0, Rating((1.0, 4.0)), 0.0, mean=2.5),))
MULTI_TASK = MultiTaskConfig(
    heads=(TaskHead(label="rating"),), mixing={"type": "mmoe", "experts": 2, "widths": [4]}, tower=(3,), dropout=0.5
)

NUM_USERS, NUM_ITEMS, NUM_EXAMPLES = 20, 10, 1000


def rows() -> list[dict]:
    """Ratings that depend on user and item alone: 2 for even users, plus 1 for even items, plus 1."""
    random = np.random.default_rng(0)
    users, items = random.integers(NUM_USERS, size=NUM_EXAMPLES), random.integers(NUM_ITEMS, size=NUM_EXAMPLES)
    return [
        {
            "user": [f"u{user}".encode()],
            "item": [f"i{item}".encode()],
            "tags": [b"a", b"b"][: item % 3],
            "main_tag": [b"c"],
            "year": [1990.0 + item] if item else [],
            "rating": [1.0 + 2 * (user % 2 == 0) + (item % 2 == 0)],
        }
        for user, item in zip(users, items, strict=True)
    ]


def serialize(row: dict) -> bytes:
    features = tf.train.Features()
    for name, values in row.items():
        kind = "float_list" if name in ("year", "rating", "plays", "strengths") else "bytes_list"
        getattr(features.feature[name], kind).value.extend(values)
    return tf.train.Example(features=features).SerializeToString(deterministic=True)


def parse_spec(columns: Sequence[Column]) -> dict[str, tf.io.FixedLenFeature | tf.io.VarLenFeature]:
    """How `tf.io.parse_example` reads columns: `[batch, 1]` where one value is required, sparse elsewhere."""
    return {
        column.name: tf.io.VarLenFeature(tf.as_dtype(column.dtype))
        if column.multivalent or not column.required
        else tf.io.FixedLenFeature([1], tf.as_dtype(column.dtype))
        for column in columns
    }


def batch_of(examples: list[dict], spec: FeatureSpec = SPEC) -> pa.RecordBatch:
    """Examples as a reader of files gives them; columns that an example lacks are empty."""
    schema = spec.arrow_schema()
    columns = [pa.array([row.get(field.name, []) for row in examples], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def write_examples(file: Path, examples: list[dict]) -> str:
    """Writes a gzip TFRecord; returns its path."""
    with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions("GZIP")) as writer:
        for row in examples:
            writer.write(serialize(row))
    return str(file)


@dataclass(frozen=True)
class World:
    """What a trainer is given."""

    spec: FeatureSpec
    transform_output: tft.TFTransformOutput
    model_inputs: ModelInputs
    files: list[str]

    def reader(self) -> ExampleReader:
        return ExampleReader(self.spec, self.model_inputs, self.files)

    def blueprint(
        self,
        model: RatingModelConfig | MultiTaskConfig,
        training: TrainingConfig,
        embeddings: EmbeddingsConfig | None = None,
    ) -> Blueprint:
        experiment = Experiment(
            dataset=described(self.spec),
            model=model,
            embeddings=embeddings or EmbeddingsConfig(dim=2),
            training=training,
        )
        spec = experiment.features(self.spec)
        objective = GOALS if isinstance(model, MultiTaskConfig) else Rating((1.0, 4.0))
        return Blueprint(experiment, spec, Vocabularies(spec, self.transform_output).rows, objective)


def sample_rows(world: World) -> list[SampleRow]:
    """Rows of every kind that the world knows."""
    vocabularies = Vocabularies(world.spec, world.transform_output)
    rarest = {table.name: vocabularies.tokens(table.name)[-1].as_py() for table in world.spec.tables}
    return choose(world.spec, rarest, world.reader(), [world.reader()])


def transform_graph(directory: Path, examples: list[dict], spec: FeatureSpec = SPEC) -> tft.TFTransformOutput:
    """What Transform would learn from examples."""
    schema = schema_utils.schema_from_feature_spec(parse_spec(spec.columns))
    metadata = dataset_metadata.DatasetMetadata(schema)
    with tft_beam.Context(temp_dir=str(directory / "temp")):
        _, transform_fn = (examples, metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, {"features": spec.model_dump_json()})
        )
        transform_fn | tft_beam.WriteTransformFn(str(directory / "transform"))
    return tft.TFTransformOutput(str(directory / "transform"))


def write_world(directory: Path) -> None:
    """Writes the transform graph and, in either format, the examples as two files."""
    transform_graph(directory, rows())
    for number, part in enumerate((rows()[:600], rows()[600:])):
        write_examples(directory / f"examples-{number}.gz", part)
        write_parquet(str(directory / f"examples-{number}.parquet"), pa.Table.from_batches([batch_of(part)]))


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    directory = shared_directory(tmp_path_factory, "world", write_world)
    transform_output = tft.TFTransformOutput(str(directory / "transform"))
    model_inputs = ModelInputs(SPEC, transform_output.transform_features_layer())
    return World(SPEC, transform_output, model_inputs, sorted(map(str, directory.glob("examples-*.parquet"))))
