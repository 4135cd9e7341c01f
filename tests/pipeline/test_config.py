from pathlib import Path

import pytest

from pipeline.config import Locations, load_config, parse_assignments
from trainer_module.data.datasets import DATASET_NAMES
from trainer_module.errors import ConfigError


def write(directory: Path, text: str) -> Path:
    path = directory / "experiment.yaml"
    path.write_text(text)
    return path


def test_without_a_file_the_preset_of_the_dataset_is_taken():
    assert load_config().data.split.by == "u1"
    assert load_config().pipeline_name == "movielens-100k-u1-rating"
    assert load_config(overrides={"data.dataset": "synthetic"}).data.split.by == "random"


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_every_dataset_has_a_preset(name):
    assert load_config(overrides={"data.dataset": name}).data.dataset == name


def test_overrides_win_over_the_file(tmp_path):
    file = write(tmp_path, "training: {epochs: 3, batch_size: 64}\nname: mine")
    config = load_config(
        file,
        {"training.epochs": 5, "training.dense_optimizer.learning_rate": 0.5, "training.dense_optimizer.name": "sgd"},
    )
    assert (config.training.epochs, config.training.batch_size) == (5, 64)
    assert config.training.dense_optimizer.name == "sgd"
    assert config.pipeline_name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainig: {}", r"experiment\.yaml: trainig: unknown key\. Did you mean training\? Known: name, data"),
        ("training: {epoch: 1}", r"training\.epoch: unknown key\. Did you mean training\.epochs\?"),
        ("training: {epochs: many}", r"training\.epochs: .*valid integer.*got 'many'"),
        ("training: {epochs: 0}", r"training\.epochs: .*greater than or equal to 1, got 0"),
        ("data: {dataset: movielens-100k, split: {by: u6}}", r"data\.split: .*'u1'"),
        ("data: {dataset: movies}", r"no dataset is called 'movies'\. .*Known: criteo, movielens-100k, .*synthetic"),
        ("- a list", "expected keys and values at the top, got list"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_what_would_be_right(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


def test_an_empty_file_means_the_defaults(tmp_path):
    assert load_config(write(tmp_path, "")).data.dataset == "movielens-100k"


def test_assignments_are_yaml():
    assert parse_assignments(["training.epochs=3", "model.mlp=[8, 4]", "name=x=y"]) == {
        "training.epochs": 3,
        "model.mlp": [8, 4],
        "name": "x=y",
    }


@pytest.mark.parametrize(
    "text",
    [
        "training.epochs",
        "=3",
        "a=[",
    ],
)
def test_an_assignment_without_key_or_value_is_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        parse_assignments([text])


def test_a_value_is_no_section():
    with pytest.raises(ConfigError, match=r"name\.first: name is a value, not a section"):
        load_config(overrides={"name": "mine", "name.first": 1})


def test_locations_are_absolute_and_named_after_the_dataset(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    locations = Locations.resolve(load_config(), Path("runs"))
    assert locations.data == str(tmp_path / "data" / "movielens-100k")
    assert locations.serving("a") == tmp_path / "runs" / "serving" / "a"


def test_the_trainer_does_not_see_what_does_not_concern_it():
    one, other = load_config(), load_config(overrides={"evaluation.max_rmse": 2, "data.split.by": "time"})
    assert one.experiment == other.experiment


@pytest.mark.parametrize("name", ["criteo-dlrm", "criteo-dcn", "criteo-wide-deep"])
def test_presets_of_clicks_take_generated_or_real_data(name):
    file = Path(__file__).parents[2] / "pipeline" / "presets" / f"{name}.yaml"
    assert load_config(file).data.dataset == "synthetic-criteo"
    config = load_config(file, {"data.dataset": "criteo"})
    assert config.dataset.name == config.experiment.dataset.name == "criteo"
    assert config.dataset.task == "click"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {dataset: csv, files: a.csv, categorical: [b]}", r"data: label: name the column that is predicted"),
        (
            "data: {dataset: csv, files: a.csv, labl: c, categorical: [b]}",
            r"data: labl: unknown key\. Did you mean label\?",
        ),
        (
            "data: {dataset: csv, files: a, label: c, categorical: [{name: b, vocabulary: {bucket: 3}}]}",
            r"vocabulary\.bucket: unknown key\. Did you mean .*vocabulary\.buckets",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_what_would_be_right(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_a_described_dataset_needs_its_description():
    with pytest.raises(ConfigError, match="data: label: name the column that is predicted"):
        load_config(overrides={"data.dataset": "csv"})
    with pytest.raises(ConfigError, match="or describe your tables, as in interactions:"):
        load_config(overrides={"data.dataset": None})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("two_tower", r"model.type two_tower is for the task retrieval, .* is click. Set model.type to rating or dlrm"),
        (
            "dlrm",
            r"model.type dlrm reads numeric columns .*; declare one in the section data, .* or set model",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_when_the_experiment_is_read(tmp_path, model, message):
    file = tmp_path / "experiment.yaml"
    data = "{dataset: csv, files: r.csv, label: label, categorical: [user, item]}"
    file.write_text(f"data: {data}\nmodel: {{type: {model}}}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(file)
