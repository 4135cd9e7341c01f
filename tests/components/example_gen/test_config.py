"""The section `data`: what is read, what is refused, and how former spellings are read."""

import re
from datetime import date

import pytest
from pydantic import ValidationError

from components.example_gen.component import span_properties
from components.example_gen.config import CLICK_SPLIT, DEFAULT_HISTORY, DataConfig
from components.example_gen.executor import ALL_SPANS, LAST_SPAN, NEWEST_SPAN, WINDOW
from components.example_gen.splits.protocols.random import RandomSplit
from trainer_module.data.dataset import HISTORY_TARGETS
from trainer_module.data.features import HashBuckets, Vocabulary
from trainer_module.data.spec import DatasetSpec
from trainer_module.data.tables import MISSING_TOKEN, feature_name

EVENTS = {"files": "events/*.csv.gz", "user": "customer", "item": "sku", "time": "ts"}
ITEMS = {
    "files": "items.parquet",
    "key": "sku",
    "title": "name",
    "categorical": ["brand", {"name": "tags", "separator": "|"}],
    "numeric": ["price"],
    "text": ["name"],
}
USERS = {"files": "users.csv", "key": "customer", "categorical": ["country"]}
SHOP = {"interactions": EVENTS, "items": ITEMS, "users": USERS, "task": "retrieval", "split": "leave-last-out"}
NO_TIME = EVENTS | {"time": None}
NO_TABLE = {"interactions": None, "items": None, "users": None}
USERS_ALONE = {"files": "a.csv", "user": "customer"}
# One table, as it was spelt before tables had names.
FORMER = {"dataset": "csv", "files": "clicks/*.csv", "label": "clicked", "categorical": ["user", "item"]}


def config(**changes) -> DataConfig:
    return DataConfig.model_validate(SHOP | changes)


def former(**changes) -> DataConfig:
    return DataConfig.model_validate(FORMER | changes)


def spec(settings: DataConfig) -> DatasetSpec:
    return settings.described().spec()


def test_the_three_tables_become_columns_of_query_and_candidate():
    dataset = spec(config())
    assert dataset.candidate_columns == ("sku", "brand", "tags", "name_words", "price")
    assert dataset.query_columns == ("customer", "country", "history")
    assert (dataset.user_key, dataset.item_key, dataset.title_key) == ("customer", "sku", "name")
    assert dataset.slices == ("user_activity",)
    tables = {table.name: table for table in dataset.features.tables}
    # Every item can be found, and is counted.
    assert (tables["sku"].vocabulary, tables["sku"].frequencies) == (Vocabulary(), True)
    assert tables["customer"].vocabulary == tables["brand"].vocabulary == Vocabulary(min_frequency=2)
    assert config().described().history == DEFAULT_HISTORY


def test_without_a_table_of_items_the_identifier_is_the_title():
    dataset = spec(DataConfig.model_validate({"interactions": EVENTS, "task": "retrieval"}))
    assert (dataset.candidate_columns, dataset.title_key) == (("sku",), "sku")
    assert dataset.candidate_schema().names == ["sku", "train_count"]
    # A random split mixes up before and after, so histories would say what they cannot know in service.
    assert "history" not in dataset.query_columns


def test_without_a_time_a_history_has_no_order():
    settings = {"interactions": NO_TIME, "task": "retrieval", "split": "random"}
    dataset = spec(DataConfig.model_validate(settings | {"history": 20}))
    (history,) = [column for column in dataset.features.categorical if column.name == "history"]
    assert not history.latest_last and history.table == "sku"
    assert HISTORY_TARGETS not in [column.name for column in dataset.features.columns]
    assert "history" not in spec(DataConfig.model_validate(settings)).query_columns


def test_users_and_items_of_ratings_have_rows_of_their_own():
    ratings = spec(DataConfig.model_validate({"interactions": EVENTS | {"label": "stars"}, "task": "rating"}))
    assert {table.vocabulary for table in ratings.features.tables} == {Vocabulary()}
    assert ratings.label_range is None


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        ("user_id", "user_id"),
        ("user id", "user_id"),
        ("Price (EUR)", "Price_EUR"),
        ("geo.country", "geo_country"),
        ("self", "self_"),
        ("class", "class_"),
        ("2nd", "column_2nd"),
        ("价格", "column_1a1a584d"),
        ("../x", "x"),
    ],
)
def test_columns_get_names_that_tensorflow_can_carry(column, feature):
    assert feature_name(column) == feature
    assert feature_name(feature) == feature


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interactions": None}, "name a known dataset.*or describe your tables"),
        ({"dataset": "movielens-100k"}, "brings its own tables; leave interactions and items and users out"),
        ({"task": None}, "task: say what is predicted: rating, click or retrieval"),
        ({"task": "rating"}, "task rating predicts a label; name its column in interactions.label"),
        (
            {"interactions": {"files": "a.csv", "user": "customer"}, "items": None},
            "task retrieval finds items for users",
        ),
        ({"interactions": USERS_ALONE}, "items: interactions.item is missing"),
        ({"label_range": [1, 5]}, "only task rating has one"),
        ({"interactions": NO_TIME}, "split by leave-last-out needs interactions.time"),
        (
            {"interactions": NO_TIME | {"label": "stars"}, "split": "random", "history": 5, "task": "rating"},
            "history is the user's earlier items",
        ),
        ({"neighbours": 5}, "neighbours holds the item's raters, which no query knows"),
        ({"split": "u1"}, "u1 is a fold of movielens-100k"),
        ({"split": {"by": "column", "column": "fold", "train": "a", "test": "a"}}, "train, eval and test need values"),
        ({"split": {"by": "luck"}}, "'leave-last-out', 'random', 'stratified', 'time', 'user'"),
        ({"slices": ["town"]}, "slices: 'town' is no column of single tokens"),
        (
            {"users": USERS | {"categorical": ["brand"]}},
            r"users\.categorical 'brand' and items\.categorical 'brand'",
        ),
        ({"interactions": EVENTS | {"categorical": ["ts"]}}, "both make the feature 'ts'. A column has one role"),
        (
            {"interactions": EVENTS | {"categorical": [False]}},
            "YAML reads the word as the boolean false; put no, off",
        ),
        ({"interactions": EVENTS | {"column_names": ["a", "b", "a"]}}, "'a' names columns 1 and 3"),
        ({"interactions": EVENTS | {"encoding": "utf-9"}}, "not an encoding that Python knows"),
        ({"items": ITEMS | {"delimiter": ";"}}, "delimiter: only CSV has such keys, and these files are parquet"),
        ({"items": ITEMS | {"files": "day-{SPAN}.parquet"}}, "items.files: only interactions arrive in spans"),
        ({"items": ITEMS | {"categorical": [{"name": "tags", "table": "../x"}]}}, "cannot name a table"),
        ({"generated": {"rows": 5000}}, "only dataset synthetic-criteo has it"),
        (
            {"dataset": "movielens", "interactions": None, "items": None, "users": None},
            "no dataset is called 'movielens'",
        ),
        ({"dataset": "movielens-100k-retrieval"}, "is now spelt dataset: movielens-100k, task: retrieval"),
        ({"dataset": "movielens-100k", "protocol": "u1"}, r"protocol is now spelt split: \{by: ...\}"),
        ({"dataset": "synthetic-criteo", "rows": 5000}, r"rows is now spelt generated: \{rows: ...\}"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_an_unknown_dataset_lists_the_known_ones():
    with pytest.raises(ValidationError, match="movielens-100k, movielens-1m"):
        DataConfig(dataset="nothing")


@pytest.mark.parametrize(
    "settings", [SHOP, FORMER, {"dataset": "criteo"}, {"dataset": "movielens-100k", "split": "u3"}]
)
def test_configurations_survive_the_way_between_components(settings):
    portable = DataConfig.model_validate(settings).portable()
    assert DataConfig.model_validate_json(portable.model_dump_json()) == portable
    assert portable.portable() == portable


def test_files_lie_below_what_their_paths_share():
    settings = DataConfig.model_validate(
        {
            "interactions": EVENTS | {"files": "/shop/events/*/part-?.csv"},
            "items": ITEMS | {"files": "/shop/items.parquet"},
            "task": "retrieval",
        }
    )
    assert settings.directory == "/shop"
    assert settings.patterns() == {"interactions": ("events/*/part-?.csv",), "items": ("items.parquet",)}
    remote = {"interactions": EVENTS | {"files": "gs://shop/events/*.csv"}, "task": "retrieval"}
    assert DataConfig.model_validate(remote).directory == "gs://shop/events"


@pytest.mark.parametrize(
    ("files", "directory", "pattern"),
    [
        ("/clicks/*.csv", "/clicks", "*.csv"),
        ("/clicks/2024-*/part-?.csv.gz", "/clicks", "2024-*/part-?.csv.gz"),
        ("/clicks.csv", "/", "clicks.csv"),
        ("/data/./clicks.csv", "/data", "clicks.csv"),
        ("/data//clicks.csv", "/data", "clicks.csv"),
        ("/clicks/day-{SPAN}/*.csv", "/clicks", "day-{SPAN}/*.csv"),
    ],
)
def test_the_directory_ends_before_the_first_wildcard(files, directory, pattern):
    settings = former(files=files)
    assert (settings.directory, settings.patterns()) == (directory, {"interactions": (pattern,)})


def test_one_table_is_read_as_it_was_spelt_before():
    settings = former(numeric=["price"], slices=["country"], split={"by": "time", "column": "when"})
    interactions = settings.described().tables.interactions
    assert (settings.task, interactions.format, interactions.files) == ("click", "csv", ("clicks/*.csv",))
    assert interactions.time and interactions.time.name == "when"
    assert [entry.name for entry in interactions.context] == ["country"]
    columns = {column.name: column for column in spec(settings).features.columns}
    user, price, country = columns["user"], columns["price"], columns["country"]
    # Anything may be missing, and has a row when it is; slices may not.
    assert (user.required, user.missing_token, user.ids_layout) == (False, MISSING_TOKEN, "dense")
    assert (price.required, price.transform, country.kind, country.required) == (False, "z_score", "context", True)
    assert spec(settings).features.label.name == "clicked"
    assert spec(settings).features.tables[0].vocabulary == Vocabulary(min_frequency=2)
    assert former().split == CLICK_SPLIT
    assert former(split={"seed": 3}).split == RandomSplit(test_fraction=0.1, seed=3)


def test_an_entry_may_say_more():
    tags = {"name": "tags", "separator": "|", "vocabulary": {"buckets": 100}, "dim": 4, "combiner": "sum"}
    features = spec(former(categorical=["user", tags, {"name": "friend", "table": "user"}])).features
    _, tags, friend = features.categorical
    assert (tags.multivalent, tags.missing_token, friend.table) == (True, None, "user")
    assert [table.name for table in features.tables] == ["user", "tags"]
    assert features.tables[1].vocabulary == HashBuckets(buckets=100)
    with pytest.raises(ValidationError, match="columns of table 'user' differ in vocabulary, dim or combiner"):
        former(categorical=["user", {"name": "friend", "table": "user", "dim": 3}])


@pytest.mark.parametrize(
    ("key", "interactions", "resolved", "column"),
    [
        (None, EVENTS, "pair", None),
        ("customer", EVENTS, "user", None),
        ("device", EVENTS, "device", "device"),
        (None, {"files": "a.csv"}, "row", None),
        ("user", {"files": "a.csv", "categorical": ["user"]}, "user", "user"),
    ],
)
def test_the_key_of_a_random_split_is_a_role_or_a_column(key, interactions, resolved, column):
    described = {"interactions": interactions | {"label": "clicked"}, "task": "click", "split": {"key": key}}
    settings = DataConfig.model_validate(described)
    assert (settings.split_protocol().key, settings.split_column) == (resolved, column)


SPANS = FORMER | {"files": "clicks/day-{SPAN}/*.csv"}
DATES = FORMER | {"files": "clicks/{YYYY}/{MM}/{DD}.csv"}


@pytest.mark.parametrize(("given", "number"), [(5, 5), (date(1970, 1, 3), 2), ("1970-01-03", 2), (None, None)])
def test_the_last_span_is_a_number_or_a_date(given, number):
    settings = DataConfig.model_validate(DATES | {"last_span": given})
    assert settings.last_span_number == number
    assert DataConfig.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last_span": -1}, "expected the number of a span, or a date such as 2024-05-01"),
        ({"last_span": "yesterday"}, "expected the number of a span, or a date such as 2024-05-01"),
        ({"leave_out": [date(2024, 5, 1)]}, "leave_out: 2024-05-01 is a date, and the files name spans by number"),
        ({"leave_out": [-1]}, "expected the number of a span, or a date"),
        ({"leave_out": 4}, "expected a list of spans"),
        ({"last_span": date(2024, 5, 1)}, "last_span: 2024-05-01 is a date, and the files name spans by number"),
        ({"window": 0}, "greater than or equal to 1"),
        ({"files": "{SPAM}.csv"}, "has the marker {SPAM}"),
        (
            {"files": "clicks/*.csv", "window": 2, "missing_spans": "error"},
            "window, missing_spans: the files, clicks/*.csv",
        ),
    ],
)
def test_a_window_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        DataConfig.model_validate(SPANS | changes)


def test_criteos_days_have_numbers_and_what_is_generated_has_none():
    windowed = DataConfig(dataset="criteo", window=7)
    assert windowed.patterns()["interactions"] == ("day_{SPAN}", "day_{SPAN}.gz")
    assert span_properties(windowed) == {WINDOW: 7, LAST_SPAN: NEWEST_SPAN}
    assert DataConfig(dataset="criteo").patterns()["interactions"] == ("train.txt", "train.txt.gz", "day_*")
    assert span_properties(DataConfig(dataset="criteo")) == {}
    assert span_properties(DataConfig.model_validate(SPANS)) == {WINDOW: ALL_SPANS, LAST_SPAN: NEWEST_SPAN}
    with pytest.raises(ValidationError, match="name spans by number"):
        DataConfig.model_validate({"dataset": "criteo", "last_span": date(2024, 5, 1)})
    with pytest.raises(ValidationError, match=r"window: the files, .* have no marker of spans"):
        DataConfig.model_validate({"dataset": "synthetic-criteo", "window": 2})
