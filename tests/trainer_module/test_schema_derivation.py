from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from trainer_module.data.datasets.flat import FlatDataset
from trainer_module.data.schema_check import check_schema
from trainer_module.data.schema_derivation import derive_schema

DATASET = FlatDataset.model_validate(
    {
        "label": "stars",
        "task": "rating",
        "label_range": [1, 5],
        "categorical": ["user", {"name": "tags", "separator": "|"}],
        "numeric": ["price"],
        "slices": ["country"],
    }
).spec()


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
