"""Hash buckets, named missing values and logarithms: what tables of other people's data need."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from pydantic import ValidationError
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from trainer_module.data.features import Categorical, FeatureSpec, HashBuckets, Label, Numeric, Table, Vocabulary
from trainer_module.data.inputs import ModelInputs
from trainer_module.data.preprocessing import preprocessing_fn
from trainer_module.data.vocabularies import Vocabularies, table_fingerprint, training_counts
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.training.warm_start import row_mapping

from .conftest import parse_spec, serialize

BUCKETS = 5
SPEC = FeatureSpec(
    columns=(
        Categorical(name="site", table="site", required=False, missing_token="<missing>"),
        Categorical(name="device", table="device", required=False, missing_token="<missing>"),
        Categorical(name="words", table="device", multivalent=True),
        Numeric(name="year", required=False, transform="log1p_z_score", missing=-1.0),
        Label(name="rating"),
    ),
    tables=(
        Table(name="site", vocabulary=Vocabulary(min_frequency=2)),
        Table(name="device", vocabulary=HashBuckets(buckets=BUCKETS), frequencies=True),
    ),
)
ROWS = [
    {"site": [b"a"], "device": [b"x"], "words": [b"x", b"y"], "year": [0.0], "rating": [1.0]},
    {"site": [b"a"], "device": [], "words": [], "year": [np.e**2 - 1], "rating": [1.0]},
    {"site": [], "device": [b"y"], "words": [b"z"], "year": [-7.0], "rating": [1.0]},
    {"site": [], "device": [b"x"], "words": [], "year": [np.e**2 - 1], "rating": [1.0]},
]


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> tft.TFTransformOutput:
    directory = tmp_path_factory.mktemp("flat")
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(parse_spec(SPEC.columns)))
    config = {"features": SPEC.model_dump_json()}
    with tft_beam.Context(temp_dir=str(directory / "temp")):
        _, transform_fn = (ROWS, metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, config)
        )
        transform_fn | tft_beam.WriteTransformFn(str(directory / "transform"))
    return tft.TFTransformOutput(str(directory / "transform"))


def transformed(graph: tft.TFTransformOutput, *rows: dict) -> dict:
    raw = tf.io.parse_example([serialize(row) for row in rows], parse_spec(SPEC.inputs))
    return ModelInputs(SPEC, graph.transform_features_layer())(dict(raw))


def bucket(token: str) -> int:
    return int(tf.strings.to_hash_bucket_fast(token, BUCKETS))


def test_a_missing_token_has_a_row_of_its_own_as_it_is_seen_twice(graph):
    sites = transformed(graph, *ROWS)["site"].numpy()
    assert sites.shape == (4, 1)
    assert sites[0] == sites[1] != sites[2] == sites[3]
    # Two tokens and one bucket.
    assert Vocabularies(SPEC, graph).rows == {"site": 3, "device": BUCKETS}


def test_hashed_columns_share_their_buckets_and_a_missing_value_hashes_as_its_token(graph):
    output = transformed(graph, *ROWS)
    assert output["device"].numpy()[:, 0].tolist() == [bucket(t) for t in ("x", "<missing>", "y", "x")]
    assert output["words"].values.numpy().tolist() == [bucket(t) for t in ("x", "y", "z")]


def test_a_batch_in_which_every_value_is_missing(graph):
    empty = {"site": [], "device": [], "words": [], "year": []}
    output = transformed(graph, empty, empty)
    assert output["device"].numpy().tolist() == [[bucket("<missing>")]] * 2
    assert output["year"].numpy().tolist() == [[-1.0]] * 2


def test_numbers_are_z_scores_of_their_logarithms_and_negative_ones_count_as_zero(graph):
    # log(1 + x) is 0, 2, 0 and 2: mean 1, standard deviation 1.
    np.testing.assert_allclose(transformed(graph, *ROWS)["year"].numpy()[:, 0], [-1, 1, -1, 1], atol=1e-5)


def test_a_hashed_table_has_no_tokens_and_its_fingerprint_is_the_number_of_its_buckets(graph):
    vocabularies = Vocabularies(SPEC, graph)
    assert vocabularies.tokens("device") == pa.array([], pa.large_binary())
    assert vocabularies.fingerprints["device"] == table_fingerprint(graph, "device", BUCKETS)
    assert vocabularies.fingerprints["device"] != table_fingerprint(graph, "device", BUCKETS + 1)


def test_frequencies_of_a_hashed_table_add_up_in_its_buckets(graph):
    counts = training_counts(graph, SPEC.tables[1])
    tokens = ["x", "<missing>", "y", "x", "x", "y", "z"]
    assert counts.tolist() == np.bincount([bucket(token) for token in tokens], minlength=BUCKETS).tolist()


def test_an_experiment_may_hash_what_the_dataset_counts():
    config = EmbeddingsConfig.model_validate({"tables": {"site": {"vocabulary": {"buckets": 7}}}})
    assert config.applied_to(SPEC).tables[0].vocabulary == HashBuckets(buckets=7)
    assert FeatureSpec.model_validate_json(config.applied_to(SPEC).model_dump_json()) == config.applied_to(SPEC)


@pytest.mark.parametrize("wrong", [{"required": True}, {"multivalent": True}, {"dtype": "int64"}])
def test_only_a_column_that_may_lack_its_one_value_names_the_missing(wrong):
    with pytest.raises(ValidationError, match="missing_token stands for"):
        Categorical(**{"name": "x", "table": "x", "required": False, "missing_token": "-"} | wrong)


def test_a_warm_start_moves_all_rows_of_equally_many_buckets_and_none_of_others():
    none = pa.array([], pa.large_binary())
    new, old = row_mapping(none, none, BUCKETS, BUCKETS)
    assert new.tolist() == old.tolist() == list(range(BUCKETS))
    assert len(row_mapping(none, none, BUCKETS, BUCKETS + 1)[0]) == 0
