from importlib import resources

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets import DATASET_NAMES, known_dataset
from trainer_module.data.features import ExampleWeight, FeatureSpec
from trainer_module.data.schema import check_schema, curated_schema, derive_schema
from trainer_module.errors import ConfigError

DATASET = Dataset.model_validate(
    {
        "task": "rating",
        "label_range": [1, 5],
        "slices": ["country"],
        "tables": {
            "interactions": {
                "files": "stars.csv",
                "label": "stars",
                "categorical": ["user", {"name": "tags", "separator": "|"}],
                "numeric": ["price"],
                "context": ["country"],
            }
        },
    }
).spec()


def curated(name: str) -> tuple:
    dataset = known_dataset(name).spec()
    text = resources.files("schema").joinpath(dataset.schema_file).read_text()
    schema = curated_schema(dataset, text_format.Parse(text, schema_pb2.Schema()))
    return dataset.features, schema, dataset.schema_file


@pytest.mark.parametrize("name", [name for name in DATASET_NAMES if known_dataset(name).schema_file])
def test_every_curated_schema_fits_its_spec(name):
    check_schema(*curated(name))


def test_every_difference_is_listed():
    spec, schema, file = curated("movielens-100k")
    by_name = {feature.name: feature for feature in schema.feature}
    by_name["age"].type = schema_pb2.BYTES
    by_name["gender"].ClearField("shape")
    by_name["title"].name = "titel"
    with pytest.raises(ConfigError) as error:
        check_schema(spec, schema, file)
    message = str(error.value)
    assert message.startswith("movielens-100k.pbtxt does not fit")
    assert "feature 'age': type BYTES, but the spec's dtype float32 is FLOAT" in message
    assert "feature 'gender': expected shape { dim { size: 1 } }" in message
    assert "column 'title' is missing" in message
    assert "feature 'titel' is not in the feature spec" in message


def test_types_presence_and_the_range_of_the_label_follow_from_the_columns():
    found = {feature.name: feature for feature in derive_schema(DATASET).feature}
    optional = "type: BYTES presence { min_count: 1 }"
    assert found["user"] == feature("user", f"{optional} value_count {{ max: 1 }}")
    assert found["tags"] == feature("tags", optional)
    assert found["price"] == feature("price", "type: FLOAT presence { min_count: 1 } value_count { max: 1 }")
    always = "presence { min_count: 1 min_fraction: 1 } shape { dim { size: 1 } }"
    assert found["country"] == feature("country", f"type: BYTES {always}")
    assert found["stars"] == feature("stars", f"type: FLOAT {always} float_domain {{ min: 1 max: 5 }}")


def test_it_fits_the_spec_that_it_comes_from():
    check_schema(DATASET.features, derive_schema(DATASET), "derived")


def feature(name: str, text: str) -> schema_pb2.Feature:
    return text_format.Parse(f'name: "{name}" {text}', schema_pb2.Feature())


def test_weights_of_examples_are_always_there_and_not_negative():
    features = FeatureSpec(
        columns=(*DATASET.features.columns, ExampleWeight(name="plays")), tables=DATASET.features.tables
    )
    dataset = DATASET.model_copy(update={"features": features})
    schema = derive_schema(dataset)
    always = "presence { min_count: 1 min_fraction: 1 } shape { dim { size: 1 } }"
    assert schema.feature[-1] == feature("plays", f"type: FLOAT {always} float_domain {{ min: 0 }}")
    check_schema(features, schema, "derived")
