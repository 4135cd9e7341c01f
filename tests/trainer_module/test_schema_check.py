from importlib import resources

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from trainer_module.data.datasets import DATASET_NAMES, dataset_spec
from trainer_module.data.schema_check import check_schema
from trainer_module.errors import ConfigError


def curated(name: str) -> tuple:
    dataset = dataset_spec(name)
    text = resources.files("schema").joinpath(dataset.schema_file).read_text()
    return dataset.features, text_format.Parse(text, schema_pb2.Schema()), dataset.schema_file


@pytest.mark.parametrize("name", DATASET_NAMES)
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
    assert message.startswith("movielens.pbtxt does not fit")
    assert "feature 'age': type BYTES, but the spec's dtype float32 is FLOAT" in message
    assert "feature 'gender': expected shape { dim { size: 1 } }" in message
    assert "column 'title' is missing" in message
    assert "feature 'titel' is not in the feature spec" in message
