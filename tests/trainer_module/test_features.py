import pyarrow as pa
import pytest
from pydantic import ValidationError

from trainer_module.data.datasets import DATASET_NAMES, known_dataset
from trainer_module.data.features import Categorical, Context, FeatureSpec, Label, Numeric, Table, Weights
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError

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
        ((USER,), ("user",), "exactly one required label column"),
    ],
)
def test_a_spec_that_does_not_hold_together_is_refused(columns, tables, message):
    with pytest.raises(ValidationError, match=message):
        FeatureSpec(columns=columns, tables=tuple(Table(name=name) for name in tables))


TAGS = Categorical(name="tags", table="tags", multivalent=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "dense"}, "layout dense needs exactly one value"),
        ({"output_shape": (3,)}, r"output_shape \[3\] does not fit a bag feature; possible: \[\]"),
        ({"max_sequence_length": 4, "output_shape": (3,)}, r"does not fit a sequence feature; possible: \[4\]"),
        ({"max_sequence_length": 4, "weights": "w"}, "a sequence has none to combine"),
        ({"multivalent": False, "weights": "w"}, "a dense has none to combine"),
        ({"multivalent": False, "max_sequence_length": 2}, "a sequence must be sparse or ragged"),
    ],
)
def test_a_lookup_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Categorical.model_validate(TAGS.model_dump() | changes)


@pytest.mark.parametrize(
    ("column", "layout"),
    [
        (USER, "dense"),
        (Categorical(name="user", table="user", required=False), "sparse"),
        (TAGS, "sparse"),
        (TAGS.model_copy(update={"layout": "ragged"}), "ragged"),
    ],
)
def test_ids_are_dense_where_there_is_one_and_sparse_elsewhere(column, layout):
    assert column.ids_layout == layout


def test_sparse_and_ragged_do_not_mix():
    ragged = TAGS.model_copy(update={"name": "more", "layout": "ragged"})
    with pytest.raises(ValidationError, match=r"sparse or ragged ids, not both: .*'tags'.*'more'"):
        FeatureSpec(columns=(TAGS, ragged, RATING), tables=(Table(name="tags"),))


def test_weights_and_their_column_need_each_other():
    weighted = TAGS.model_copy(update={"weights": "w"})
    tables = (Table(name="tags"),)
    spec = FeatureSpec(columns=(weighted, Weights(name="w"), RATING), tables=tables)
    assert [column.name for column in spec.inputs] == ["tags", "w"]
    for columns in ((weighted, RATING), (TAGS, Weights(name="w"), RATING)):
        with pytest.raises(ValidationError, match="categorical columns name the weights"):
            FeatureSpec(columns=columns, tables=tables)


class TestWhatAnExperimentChanges:
    SPEC = FeatureSpec(
        columns=(USER, Categorical(name="friend", table="friend"), RATING),
        tables=(Table(name="user"), Table(name="friend")),
    )

    def test_features_come_to_share_a_table(self):
        spec = EmbeddingsConfig(features={"friend": {"table": "user"}}).applied_to(self.SPEC)
        assert [table.name for table in spec.tables] == ["user"]
        assert {column.table for column in spec.categorical} == {"user"}

    def test_features_get_a_table_of_their_own(self):
        config = EmbeddingsConfig(features={"user": {"table": "people"}}, tables={"people": {"dim": 3}})
        assert [(table.name, table.dim) for table in config.applied_to(self.SPEC).tables] == [
            ("friend", None),
            ("people", 3),
        ]

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ({"tables": {"usr": {}}}, r"embeddings\.tables: unknown name 'usr'\. Did you mean user\?"),
            ({"features": {"frend": {}}}, r"embeddings\.features: unknown name 'frend'\. Did you mean friend\?"),
            ({"features": {"user": {"layout": "ragged"}, "friend": {"layout": "sparse"}}}, "not both"),
            ({"features": {"user": {"table": "people"}}}, r"undeclared table\(s\) \['people'\]"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, section, message):
        with pytest.raises(ConfigError, match=message):
            EmbeddingsConfig(**section).applied_to(self.SPEC)

    def test_overrides_survive_the_way_to_the_trainer_as_json(self):
        config = EmbeddingsConfig(
            tables={"user": {"vocabulary": {"min_frequency": 5}}}, features={"user": {"output_shape": [1]}}
        )
        received = EmbeddingsConfig.model_validate_json(config.model_dump_json())
        assert received.applied_to(self.SPEC) == config.applied_to(self.SPEC) != self.SPEC

    def test_only_vocabularies_concern_the_transform(self):
        optimizer = {"name": "sgd", "learning_rate": 1}
        config = EmbeddingsConfig(
            tables={"user": {"dim": 3, "combiner": "sum", "optimizer": optimizer}},
            features={"user": {"output_shape": [1]}},
        )
        assert config.applied_to(self.SPEC).for_preprocessing() == self.SPEC.for_preprocessing()
        fewer = EmbeddingsConfig(tables={"user": {"vocabulary": {"top_k": 5}}})
        assert fewer.applied_to(self.SPEC).for_preprocessing() != self.SPEC.for_preprocessing()


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_specs_survive_the_way_between_components(name):
    spec = known_dataset(name).spec().features
    assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_datasets_name_only_columns_that_they_have(name):
    dataset = known_dataset(name).spec()
    names = {column.name for column in dataset.features.columns}
    assert {dataset.user_key, dataset.item_key, *dataset.slices} - {""} <= names


def test_an_unknown_dataset_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean movielens-100k"):
        known_dataset("movielens-100")
