import pyarrow as pa
import pytest
from pydantic import ValidationError

from trainer_module.datasets import DATASET_NAMES, dataset_spec
from trainer_module.errors import ConfigError
from trainer_module.features import Categorical, Context, FeatureSpec, Label, Numeric, Table

USER = Categorical(name="user", table="user")
RATING = Label(name="rating")


def test_columns_are_found_by_what_they_are():
    spec = FeatureSpec(
        columns=(USER, Numeric(name="age"), RATING, Context(name="title")),
        tables=(Table(name="user"),),
    )
    assert [column.name for column in spec.inputs] == ["user", "age"]
    assert spec.label.name == "rating"
    assert spec.arrow_schema().field("age").type == pa.large_list(pa.float32())


def test_two_columns_may_share_a_table():
    spec = FeatureSpec(columns=(USER, Categorical(name="friend", table="user"), RATING), tables=(Table(name="user"),))
    assert {column.table for column in spec.categorical} == {"user"}


@pytest.mark.parametrize(
    ("columns", "tables", "message"),
    [
        ((USER, USER, RATING), ("user",), r"duplicate column name\(s\) \['user'\]"),
        ((USER, RATING), ("user", "user"), r"duplicate table name\(s\) \['user'\]"),
        ((USER, RATING), (), r"undeclared table\(s\) \['user'\]"),
        ((USER, RATING), ("user", "idle"), r"no column looks up in table\(s\) \['idle'\]"),
        ((USER,), ("user",), "exactly one label column"),
    ],
)
def test_a_spec_that_does_not_hold_together_is_refused(columns, tables, message):
    with pytest.raises(ValidationError, match=message):
        FeatureSpec(columns=columns, tables=tuple(Table(name=name) for name in tables))


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_specs_survive_the_way_between_components(name):
    spec = dataset_spec(name).features
    assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_datasets_name_only_columns_that_they_have(name):
    dataset = dataset_spec(name)
    names = {column.name for column in dataset.features.columns}
    assert {dataset.user_key, dataset.item_key, *dataset.slices} <= names


def test_an_unknown_dataset_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean 'movielens-100k'"):
        dataset_spec("movielens-100")
