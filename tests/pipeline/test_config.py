import json
import re
from pathlib import Path

import pytest

from pipeline.config import Locations, PipelineConfig, load_config, parse_assignments
from tests.pipeline.vertex.experiments import DATAFLOW, SECTION, TWO_TOWERS
from tests.presets import PRESETS_OF_ONE_MODEL
from trainer_module.data.datasets import DATASET_NAMES
from trainer_module.errors import ConfigError
from trainer_module.experiment import Experiment


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
        ("training: {epochs: many}", r"training\.epochs: expected a whole number, got 'many'"),
        ("training: {epochs: 0}", r"training\.epochs: expected a number of at least 1, got 0"),
        ("data: {dataset: movielens-100k, split: {by: u6}}", r"data\.split: by must be one of column, u1, .*random"),
        ("data: {dataset: movies}", r"no dataset is called 'movies'\. .*Known: criteo, movielens-100k, .*synthetic"),
        ("- a list", "expected keys and values at the top, got a list"),
        ("a: [", "not valid YAML"),
        ("data: 5", "data: expected a section of keys and values, got 5"),
        ("data: {dataset: [a]}", r"data\.dataset: expected a text, got \['a'\]"),
        ("training: {seed: -1}", r"training\.seed: expected a number of at least 0, got -1"),
        ("training: {seed: 99999999999}", r"training\.seed: expected a number below 2147483648"),
        ("name: ../x", r"name: expected lower-case letters, digits and hyphens, got '\.\./x'"),
        ("name: " + "n" * 300, r"name: expected at most 200 characters, got 'nnn"),
        ("\n".join(f"k{number}: 1" for number in range(50)), "and 40 more$"),
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


@pytest.mark.parametrize("name", PRESETS_OF_ONE_MODEL)
def test_the_trainer_takes_what_it_is_given(name):
    """Its experiment has every field written out."""
    experiment = load_config(Path(name)).experiment
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


@pytest.mark.parametrize("name", PRESETS_OF_ONE_MODEL)
def test_the_experiment_of_a_summary_can_be_run_again(name):
    """It has every field written out."""
    config = load_config(Path(name))
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "overrides",
    [
        {"beam": {"runner": "flink", "job_endpoint": "localhost:1", "environment_config": "localhost:2"}},
        {"beam.workers": 2},
        {"beam": {**DATAFLOW, "components": {"Transform": {"max_workers": 9}, "Evaluator": {"runner": "local"}}}},
        {"evaluation": {"max_rmse": 0.9, "max_miscalibration": 0.1}},
        TWO_TOWERS,
        {"validation.drift": {"action": "stop"}},
        {"data.last_span": None, "training.warm_start": "last_blessed"},
        {"vertex": SECTION | {"deploy": {}, "trainer": {"machine": "n1-standard-8"}}},
    ],
    ids=["flink", "workers", "dataflow", "gates", "retrieval", "drift", "warm start", "vertex"],
)
@pytest.mark.filterwarnings("error::UserWarning")
def test_an_experiment_that_is_written_out_says_the_same(overrides):
    config = load_config(None, overrides)
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


def test_a_name_takes_the_defaults_of_its_type():
    short = TWO_TOWERS | {"model": {"type": "two_tower", "loss": "contrastive", "query_encoder": "attention"}}
    long = {"loss": {"type": "contrastive"}, "query_encoder": {"type": "attention"}}
    assert load_config(None, short) == load_config(None, TWO_TOWERS | {"model": {"type": "two_tower"} | long})
    with pytest.raises(ConfigError, match=r"model\.loss: type must be one of softmax, gbce, contrastive"):
        load_config(None, TWO_TOWERS | {"model": {"type": "two_tower", "loss": "contrastiv"}})


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


@pytest.mark.parametrize(
    "place",
    [
        "training.dense_optimizer",
        "training.embedding_optimizer",
        "embeddings.tables.user_id.optimizer",
    ],
)
def test_a_function_is_called_only_from_a_listed_module(place):
    def read(function: str, modules: list[str]) -> PipelineConfig:
        optimizer = {"name": "adam", "learning_rate": {"function": function}}
        return load_config(None, {place: optimizer, "modules": modules})

    assert read("my_package.rates.halved", ["my_package.rates"]).experiment.modules == ("my_package.rates",)
    for function, modules in (("os.system", []), ("my_package.rates.halved", ["my_package"]), ("a.b.c", ["a.bc"])):
        with pytest.raises(ConfigError, match=rf"{place}\.learning_rate\.function: {function} would be imported"):
            read(function, modules)
    for module in ("os", "os.path", "subprocess"):
        with pytest.raises(ConfigError, match=f"modules: {module} belongs to Python's standard library"):
            read(f"{module}.system", [module])


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\0b", "n" * 201, ".", "", "\u00e4"])
def test_a_table_cannot_leave_the_directory_of_vocabularies(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot name a table"):
        load_config(
            None, {"embeddings.tables": {name: {"dim": 8}}, "embeddings.features": {"user_id": {"table": name}}}
        )
    own = {"interactions": {"files": "a.csv", "user": {"name": "u", "table": name}, "label": "l"}, "task": "rating"}
    with pytest.raises(ConfigError, match="cannot name a table"):
        load_config(write(tmp_path, json.dumps({"data": own})))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\0b", "n" * 5000, "..", "\u6570" * 90, "con", "a\nb"])
def test_a_column_of_any_name_gets_a_feature_that_can_name_a_file(tmp_path, name):
    own = {"interactions": {"files": "a.csv", "user": name, "item": "i", "label": "l"}, "task": "rating"}
    tables = load_config(write(tmp_path, json.dumps({"data": own}))).dataset.features.tables
    assert all(re.fullmatch("[0-9A-Za-z_]{1,120}", table.name) for table in tables)
