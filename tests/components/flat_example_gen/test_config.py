import re
from datetime import date
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from components.flat_example_gen.config import CriteoIngestConfig, FlatIngestConfig, RandomSplit, TableIngestConfig
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.datasets.flat import MISSING_TOKEN, FlatDataset
from trainer_module.data.features import HashBuckets, Vocabulary

MINIMAL = {"dataset": "csv", "files": "clicks/*.csv", "label": "clicked", "categorical": ["user", "item"]}


def config(**changes) -> FlatIngestConfig:
    return FlatIngestConfig.model_validate(MINIMAL | changes)


def test_names_alone_are_enough():
    dataset = dataset_spec(config(numeric=["price"]).dataset_key)
    user, item, price, label = dataset.features.columns
    assert (dataset.task, label.name, item.table) == ("click", "clicked", "item")
    # Anything may be missing, and has a row when it is.
    assert (user.required, user.missing_token, user.ids_layout) == (False, MISSING_TOKEN, "dense")
    assert (price.required, price.transform) == (False, "z_score")
    assert dataset.features.tables[0].vocabulary == Vocabulary(min_frequency=2)
    assert config().split == RandomSplit()


def test_an_entry_may_say_more():
    tags = {"name": "tags", "separator": "|", "vocabulary": {"buckets": 100}, "dim": 4, "combiner": "sum"}
    settings = config(categorical=["user", tags, {"name": "friend", "table": "user"}], slices=["user", "country"])
    features = settings.dataset_key.spec().features
    user, tags, friend, _, country = features.columns
    assert (tags.multivalent, tags.missing_token, friend.table) == (True, None, "user")
    assert (user.required, country.kind, country.required) == (True, "context", True)
    assert [table.name for table in features.tables] == ["user", "tags"]
    assert features.tables[1].vocabulary == HashBuckets(buckets=100)
    assert settings.source().separators == {"tags": "|"}


def test_the_trainer_gets_what_the_columns_mean_and_nothing_else():
    key = config(split={"seed": 7}).dataset_key
    assert key == config(split={"seed": 8}).dataset_key
    assert FlatDataset.model_validate_json(key.model_dump_json()).spec() == key.spec()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "rating"}, "task rating needs the smallest and the largest label"),
        ({"label_range": [0, 1]}, "task click has the labels 0 and 1"),
        ({"task": "rating", "label_range": [5, 1]}, "the smaller number comes first"),
        ({"categorical": ["clicked"]}, "duplicate column"),
        ({"categorical": ["a", {"name": "b", "table": "a", "dim": 3}]}, "columns of table 'a' differ"),
        ({"dataset": "parquet", "delimiter": ";"}, "delimiter: Parquet has none"),
        ({"categorical": [{"name": "tags", "multivalent": True}]}, "name the separator of tags"),
        ({"split": {"by": "time"}}, "Field required"),
        ({"split": {"by": "luck"}}, "'random', 'time', 'column'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("files", "directory", "pattern"),
    [
        ("clicks/*.csv", "clicks", "*.csv"),
        ("clicks/2024-*/part-?.csv.gz", "clicks", "2024-*/part-?.csv.gz"),
        ("clicks.csv", ".", "clicks.csv"),
        ("/data/clicks.csv", "/data", "clicks.csv"),
    ],
)
def test_files_lie_below_the_path_up_to_the_first_wildcard(files, directory, pattern):
    settings = config(files=files)
    assert (settings.directory, settings.source().files) == (Path(directory), (pattern,))


def test_what_is_not_generated_has_no_seed():
    with pytest.raises(ValidationError, match="rows: only synthetic-criteo is generated"):
        CriteoIngestConfig.model_validate({"dataset": "criteo", "rows": 5000})


@pytest.mark.parametrize("settings", [MINIMAL | {"dataset": "parquet"}, {"dataset": "criteo"}])
def test_configurations_survive_the_way_between_components(settings):
    config = TypeAdapter(TableIngestConfig).validate_python(settings)
    assert TypeAdapter(TableIngestConfig).validate_json(config.model_dump_json()) == config


SPANS = {"dataset": "csv", "files": "clicks/day-{SPAN}/*.csv", "label": "clicked", "categorical": ["user"]}
DATES = SPANS | {"files": "clicks/{YYYY}/{MM}/{DD}.csv"}


def test_the_directory_ends_before_the_first_marker():
    config = FlatIngestConfig.model_validate(SPANS)
    assert (config.directory, config.source().files) == (Path("clicks"), ("day-{SPAN}/*.csv",))


@pytest.mark.parametrize(("given", "number"), [(5, 5), (date(1970, 1, 3), 2), ("1970-01-03", 2), (None, None)])
def test_the_last_span_is_a_number_or_a_date(given, number):
    config = FlatIngestConfig.model_validate(DATES | {"last_span": given})
    assert config.last_span_number == number
    assert FlatIngestConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last_span": -1}, "expected the number of a span, or a date such as 2024-05-01"),
        ({"last_span": "yesterday"}, "expected the number of a span, or a date such as 2024-05-01"),
        ({"last_span": date(2024, 5, 1)}, "last_span is the date 2024-05-01 and files names spans by number"),
        ({"window": 0}, "greater than or equal to 1"),
        ({"files": "{SPAM}.csv"}, "has the marker {SPAM}"),
        (
            {"files": "clicks/*.csv", "window": 2, "missing_spans": "error"},
            "window, missing_spans: files, 'clicks/*.csv'",
        ),
    ],
)
def test_a_window_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        FlatIngestConfig.model_validate(SPANS | changes)


def test_criteos_days_have_numbers_and_what_is_generated_has_none():
    assert CriteoIngestConfig(dataset="criteo", window=7).source().files == ("day_{SPAN}", "day_{SPAN}.gz")
    assert CriteoIngestConfig(dataset="criteo").source().files == ("train.txt", "train.txt.gz", "day_*")
    with pytest.raises(ValidationError, match="Criteo's days have numbers"):
        CriteoIngestConfig.model_validate({"dataset": "criteo", "last_span": date(2024, 5, 1)})
    with pytest.raises(ValidationError, match="window: what is generated has no days"):
        CriteoIngestConfig.model_validate({"dataset": "synthetic-criteo", "window": 2})
