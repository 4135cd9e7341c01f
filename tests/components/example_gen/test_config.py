"""The ingestion config, and what enters the cache key."""

import pytest
from pydantic import ValidationError

from components.example_gen.config import IngestConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", "movielens"),
        ("protocol", "u6"),
        ("eval_fraction", 0.0),
        ("test_fraction", 1.0),
        ("seed", -1),
        ("max_bad_rows", -1),
        ("folds", 5),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(ValidationError, match=field):
        IngestConfig.model_validate({field: value})


def test_an_unknown_dataset_lists_the_known_ones():
    with pytest.raises(ValidationError, match="movielens-100k, synthetic"):
        IngestConfig(dataset="nothing")
