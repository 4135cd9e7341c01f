"""The page that lists every key of an experiment file."""

from typing import Annotated

import pytest
import yaml
from pydantic import TypeAdapter

from pipeline.config import VertexConfig
from tests.experiment_reference import PAGE, example_of, render, rows, sections
from trainer_module.training.config import TrainingConfig

KEYS = [
    pytest.param(model, name, field, id=f"{model.__name__}.{name}")
    for model in sections()
    for name, field in rows(model)
    # A whole section `vertex` is shown by docs/vertex.md.
    if VertexConfig not in getattr(field.annotation, "__args__", ())
]


def test_the_page_is_what_the_classes_say():
    assert PAGE.read_text() == render(), "run `python -m tests.experiment_reference`"


@pytest.mark.parametrize(("model", "name", "field"), KEYS)
def test_every_key_has_an_example_that_it_takes(model, name, field):
    example = example_of(model, name)
    assert example
    key = TypeAdapter(Annotated[field.annotation, field])
    value = key.validate_python(yaml.safe_load(example))
    # Summaries hold experiments with every field written out, and can be read again.
    assert key.validate_json(key.dump_json(value)) == value


def test_the_page_shows_type_range_default_and_meaning():
    assert (
        "| `epochs` | whole number, from 1 | `40` | `10` | Passes over the training split at most. |  |"
        in PAGE.read_text()
    )
    places = sections()[TrainingConfig]
    assert places == ["training"]
