"""Experiments of two stages: what keeps two models from becoming one, and how the whole is judged and remembered."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tfx.types import standard_artifacts, standard_component_specs
from typer.testing import CliRunner

from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.executor import Executor
from components.pusher.publish import publish
from components.retrieval_index.exact import IDS
from pipeline.cli import app
from pipeline.config import PipelineConfig, assign, experiment_tree, load_config
from pipeline.history.records import find_runs
from pipeline.lineage import examples_of
from pipeline.two_stage import combine as combining
from pipeline.two_stage.combine import Combined, Judgement, _check_fit, _check_leak, judge
from pipeline.two_stage.config import TwoStageOptions, stage_tree, two_stage_config
from pipeline.two_stage.run import run_combination, run_two_stage
from tests.examples_on_disk import read_split
from trainer_module.data.example_files import write_parquet
from trainer_module.errors import ConfigError, DataError, ModelError

TABLES = {"interactions": {"files": "rows.csv", "user": "user", "item": "item", "time": "ts"}}
RATED = {"interactions": TABLES["interactions"] | {"label": "stars"}, "task": "rating"}
LAST_OUT = {"split": {"by": "leave-last-out"}}


def dataset(**settings):
    return DataConfig.model_validate(TABLES | LAST_OUT | settings).described()


RETRIEVAL, RANKING = dataset(task="retrieval"), dataset(**RATED)


def lists(*values: list[str]) -> pa.Array:
    return pa.array([[v.encode() for v in of_row] for of_row in values], pa.large_list(pa.large_binary()))


class Fixed:
    """A model with one answer."""

    def __init__(self, *ids: list[str]):
        self._ids = np.array([[item.encode() for item in of_query] for of_query in ids], object)

    def find(self, queries, k, exclude_seen):
        assert exclude_seen
        return {IDS: self._ids[:, :k]}


def test_the_whole_is_judged_by_the_mean_over_queries():
    batch = pa.record_batch({"relevant": lists(["a"], ["b", "c"])})
    alone, whole = Fixed(["x", "a"], ["b", "c"]), Fixed(["a", "x"], ["c", "b"])
    found = judge(alone, whole, [batch], 2)  # pyright: ignore[reportArgumentType] (it has the method that is called)
    second = 1 / np.log2(3)
    assert (found.num_queries, found.k) == (2, 2)
    assert found.retrieval_ndcg == pytest.approx((second + 1) / 2)
    assert found.whole == pytest.approx(1)
    assert found.is_no_worse and found.difference[0] <= found.whole - found.retrieval_ndcg <= found.difference[1]
    assert not replace(found, whole=found.retrieval_ndcg - 0.001).is_no_worse


def test_models_that_do_not_fit_are_refused():
    _check_fit(RETRIEVAL, RANKING, {})
    with pytest.raises(ConfigError, match="retrieval: this version does not retrieve by itself"):
        _check_fit(RANKING, RANKING, {})
    with pytest.raises(ConfigError, match="retrieval: this version does not retrieve by itself"):
        _check_fit(RETRIEVAL, RANKING, {"two_stage": {}})
    with pytest.raises(ConfigError, match="ranking: this version retrieves"):
        _check_fit(RETRIEVAL, RETRIEVAL, {})
    renamed = {"interactions": RATED["interactions"] | {"item": {"name": "item", "feature": "sku"}}, "task": "rating"}
    with pytest.raises(ConfigError, match="item_key is 'item', the ranking model's 'sku'"):
        _check_fit(RETRIEVAL, dataset(**renamed), {})
    with pytest.raises(ConfigError, match=r"data\.neighbours looks at user and item together"):
        _check_fit(RETRIEVAL, dataset(**RATED, neighbours=3), {})
    with pytest.raises(ConfigError, match=r"data\.history is 3 for the ranking stage and "):
        _check_fit(RETRIEVAL, dataset(**RATED, history=3), {})


def test_a_ranking_model_that_knows_the_test_rows_is_refused(tmp_path):
    def write(directory: str, **rows: list[tuple[str, str, int]]) -> str:
        for split, of_split in rows.items():
            users, items, times = zip(*of_split, strict=True)
            table = {"user": lists(*([u] for u in users)), "item": lists(*([i] for i in items))}
            table["ts"] = pa.array([[time] for time in times], pa.large_list(pa.int64()))
            (tmp_path / directory / f"Split-{split}").mkdir(parents=True, exist_ok=True)
            write_parquet(str(tmp_path / directory / f"Split-{split}" / "part-0.parquet"), pa.table(table))
        return str(tmp_path / directory)

    # Bob takes c once more.
    test = [("ann", "a", 5), ("ann", "b", 6), ("bob", "c", 7)]
    retrieval = write("retrieval", train=[("bob", "c", 1)], eval=[("ann", "d", 2)], test=test)
    ranking = write("ranking", train=[("ann", "c", 1), ("bob", "c", 1)])
    _check_leak(RETRIEVAL, RANKING, retrieval, ranking)
    untimed = {"interactions": {key: value for key, value in RATED["interactions"].items() if key != "time"}}
    without = [
        DataConfig.model_validate(untimed | {"task": task, "split": "random"}).described()
        for task in ("retrieval", "rating")
    ]
    _check_leak(*without, retrieval, ranking)
    write("ranking", train=[("bob", "c", 7), ("ann", "b", 6)])
    with pytest.raises(DataError, match="trained on 2 rows that are among the 3 test rows"):
        _check_leak(RETRIEVAL, RANKING, retrieval, ranking)
    with pytest.raises(DataError, match="trained on 1 rows that are among the 2 test rows"):
        _check_leak(*without, retrieval, ranking)


def test_a_version_without_its_run_is_named(tmp_path):
    version = tmp_path / "runs" / "serving" / "shop" / "1"
    with pytest.raises(ModelError, match=r"metadata\.sqlite is not there"):
        examples_of(version)


EXPERIMENT = {
    "name": "shop",
    "data": {"interactions": RATED["interactions"], "task": "rating", "split": {"by": "time"}},
    "training": {"epochs": 3, "batch_size": 256},
    "model": {
        "type": "two_stage",
        "candidates": 50,
        "retrieval": {"model": {"temperature": 0.5}, "training": {"epochs": 7}},
        "ranking": {"model": {"type": "dcn"}},
    },
}


def experiment(**overrides):
    """The experiment with values by dotted key."""
    tree = json.loads(json.dumps(EXPERIMENT))
    for key, value in overrides.items():
        assign(tree, key.replace("__", "."), value)
    return tree


def test_stages_are_laid_over_what_they_share():
    config = two_stage_config(EXPERIMENT)
    retrieval, ranking = (config.stages[stage] for stage in ("retrieval", "ranking"))
    assert isinstance(retrieval, PipelineConfig) and isinstance(ranking, PipelineConfig)
    assert (config.name, retrieval.name, ranking.name) == ("shop", "shop-retrieval", "shop-ranking")
    assert (retrieval.dataset.task, ranking.dataset.task) == ("retrieval", "rating")
    assert (retrieval.model.type, ranking.model.type) == ("two_tower", "dcn")
    assert (retrieval.training.epochs, ranking.training.epochs) == (7, 3)
    assert retrieval.training.batch_size == ranking.training.batch_size == 256
    assert retrieval.data.split == ranking.data.split
    assert (config.model.candidates, config.model.k, config.model.search) == (50, 10, "exact")


LIKES = {"interactions": RATED["interactions"] | {"label": {"name": "stars", "positive_from": 4}}, "task": "click"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model__candidates": 5}, r"k 10: lists cannot be longer than the 5 candidates"),
        ({"model__candidate": 5}, r"model\.candidate: unknown key\. Did you mean model\.candidates"),
        ({"model__retrieval": 3}, r"model\.retrieval: "),
        (
            {"data__task": "retrieval", "model__ranking__model": {"type": "two_tower"}},
            r"model\.ranking: a model of type two_tower predicts nothing that orders items; set data\.task to rating",
        ),
        (
            {"model__retrieval": {"data": {"task": "rating"}, "model": {"type": "dcn"}}},
            r"model\.retrieval: a model of task rating finds no items; train model\.type two_tower",
        ),
        ({"model__retrieval__data": {"task": "rating"}}, "stage retrieval: .*two_tower is for the task retrieval"),
        (
            {"model__ranking__data": {"split": {"by": "random"}}},
            r"model\.ranking\.data\.split: both stages read the same",
        ),
        ({"model__ranking__training": {"epoch": 1}}, r"stage ranking: training\.epoch: unknown key"),
        ({"model__ranking__data": {"task": "click", "neighbours": 3}}, r"model\.ranking\.data\.neighbours"),
        ({"model__search": "approximate"}, r"model\.retrieval\.retrieval_index\.faiss: \{type: ivf\}"),
        (
            {"model__retrieval__data": {"split_all_rows": False}},
            r"model\.retrieval\.data\.split_all_rows: both stages read",
        ),
        ({"data__split_all_rows": True}, r"stage ranking: data: split_all_rows: only task retrieval leaves rows out"),
        ({"name": "No"}, "name No-retrieval: take up to 200 lower-case"),
        ({"model__retrieval": "r", "model__ranking": "s"}, "both stages are there already, so data, training"),
    ],
)
def test_what_the_file_alone_can_tell_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        two_stage_config(experiment(**overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"evaluation__min_ndcg": 0.1},
            r"^stage ranking: evaluation\.min_ndcg: .*\. If the retrieval stage alone is to have it, write it into "
            r"model\.retrieval\.evaluation\.min_ndcg$",
        ),
        ({"evaluation__max_rmse": 2.0}, r"^stage retrieval: .* write it into model\.ranking\.evaluation\.max_rmse$"),
        ({"retrieval_index": {"max_k": 200}}, r"^stage ranking: .* write it into model\.retrieval\.retrieval_index$"),
        (
            {"data__interactions__time": None, "data__split": {"by": "random"}, "data__history": 20},
            r"^stage ranking: data: history .* write it into model\.retrieval\.data\.history$",
        ),
    ],
)
def test_a_shared_key_that_one_stage_refuses_is_sent_to_the_other(overrides, message):
    with pytest.raises(ConfigError, match=message):
        two_stage_config(experiment(**overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        # Neither stage takes it, the stage itself has it, or no stage may have it.
        {"training__epoch": 1},
        {"model__ranking__training": {"epoch": 1}},
        {"model__ranking__evaluation": {"min_ndcg": 0.1}, "evaluation__min_ndcg": 0.1},
        {"data__split_all_rows": True},
    ],
)
def test_other_keys_are_not(overrides):
    with pytest.raises(ConfigError, match=r"^stage (ranking|retrieval): ") as refused:
        two_stage_config(experiment(**overrides))
    assert "alone is to have it" not in str(refused.value)


def test_a_ranking_model_reads_the_histories_that_a_request_has():
    # Of one length, or of none.
    two_stage_config(experiment(data__history=7))
    two_stage_config(experiment(model__retrieval__data={"history": 7}))
    with pytest.raises(ConfigError, match=r"data\.history is 5 for the ranking stage and 7 for the retrieval stage"):
        two_stage_config(experiment(data__history=7, model__ranking__data={"history": 5}))
    with pytest.raises(ConfigError, match=r"and 0 for the retrieval stage.* or model\.ranking\.data\.history: 0$"):
        two_stage_config(experiment(data__history=7, model__retrieval__data={"history": 0}))
    # Of likes alone.
    two_stage_config(experiment(data=LIKES, model__retrieval__data={"history": 7}))
    with pytest.raises(ConfigError, match=r"data\.history: a request's history has the rows from positive_from 4 on"):
        two_stage_config(experiment(data=LIKES | {"history": 7}))


def test_a_version_with_other_histories_is_refused_before_anything_is_trained(tmp_path):
    tree = experiment(data__history=7)
    alone = PipelineConfig.model_validate(stage_tree(tree, "retrieval")).model_dump(mode="json")
    version = tmp_path / "1"
    version.mkdir()
    (version / "summary.json").write_text(json.dumps({"config": alone, "data_dir": str(tmp_path)}))
    config = two_stage_config(experiment(data__history=5, model__retrieval=str(version)))
    with pytest.raises(ConfigError, match=r"data\.history is 5 for the ranking stage and 7 for the retrieval stage"):
        run_two_stage(config, tmp_path / "runs", None)


@pytest.mark.parametrize("split", ["random", "time", "leave-last-out", "stratified"])
def test_both_stages_hold_the_same_rows_out_of_likes_and_all_rows(tmp_path, split):
    """Every user has more rows below the threshold than above it, and the later they are the more."""
    random = np.random.default_rng(0)
    lines = [
        f"u{user},i{item},{random.choice([1, 5], p=[share, 1 - share])},{1_600_000_000 + 86_400 * (5 * day + user % 5)}"
        for user in range(30)
        for day, item in enumerate(random.permutation(40)[:20])
        for share in [0.3 + 0.03 * day]
    ]
    (tmp_path / "rows.csv").write_text("user,item,stars,ts\n" + "\n".join(lines) + "\n")
    interactions = LIKES["interactions"] | {"files": str(tmp_path / "rows.csv")}
    config = two_stage_config(experiment(data=LIKES | {"interactions": interactions, "split": {"by": split}}))
    rows = {}
    for stage, each in config.stages.items():
        assert isinstance(each, PipelineConfig)
        artifact = standard_artifacts.Examples()
        artifact.uri = str(tmp_path / stage)
        component = TablesExampleGen(each.data.directory, each.data.portable())
        Executor().Do({}, {standard_component_specs.EXAMPLES_KEY: [artifact]}, component.exec_properties)
        rows[stage] = {
            name: {(row["user"][0], row["item"][0]) for row in read_split(f"{artifact.uri}/Split-{name}")}
            for name in ("train", "eval", "test")
        }
    assert rows["retrieval"]["test"] and sum(map(len, rows["retrieval"].values())) < len(lines)
    for name in ("train", "eval", "test"):
        assert rows["retrieval"][name] <= rows["ranking"][name]


def test_a_version_that_was_split_otherwise_is_refused_before_anything_is_trained(tmp_path):
    likes = LIKES | {"interactions": LIKES["interactions"] | {"files": str(tmp_path / "rows.csv")}}
    alone = {"data": likes | {"task": "retrieval", "split": {"by": "time"}}, "model": {"type": "two_tower"}}
    for data, message in (
        (likes | {"split": {"by": "time"}}, r"data\.split\.by time: the retrieval model's rows were split after"),
        (likes | {"split": {"by": "random"}}, r"data\.split: the retrieval model's is .*'time'.*'random'"),
    ):
        version = tmp_path / "version"
        version.mkdir(exist_ok=True)
        summary = {"config": PipelineConfig.model_validate(alone).model_dump(mode="json"), "data_dir": str(tmp_path)}
        (version / "summary.json").write_text(json.dumps(summary))
        config = two_stage_config(experiment(data=data, model__retrieval=str(version)))
        with pytest.raises(ConfigError, match=message):
            run_two_stage(config, tmp_path / "runs", None)


def test_commands_for_one_model_name_the_command_that_writes_the_stages(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(json.dumps(EXPERIMENT))
    with pytest.raises(ConfigError, match=r"two\.yaml: model\.type two_stage: .*`recspan pipeline stages --config"):
        load_config(file)
    done = CliRunner().invoke(app, ["pipeline", "stages", "--config", str(file), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    config = two_stage_config(EXPERIMENT)
    for stage in ("retrieval", "ranking"):
        assert load_config(tmp_path / "out" / f"shop-{stage}.yaml") == config.stages[stage]


def test_the_preset_is_an_experiment_of_two_stages():
    config = two_stage_config(experiment_tree(Path("movielens-100k-two-stage")))
    assert config.name == "movielens-100k-two-stage"


def test_a_stage_that_is_not_there_is_refused_before_anything_runs(tmp_path):
    config = two_stage_config(experiment(model__ranking="20261129T"))
    with pytest.raises(
        ConfigError, match=r"model\.ranking: no pushed version lies in 20261129T, and of runs: there are"
    ):
        run_two_stage(config, tmp_path, None)
    (tmp_path / "empty").mkdir()
    config = two_stage_config(experiment(model__ranking=str(tmp_path / "empty")))
    with pytest.raises(ConfigError, match=r"model\.ranking: .*empty"):
        run_two_stage(config, tmp_path, None)


class Combinations:
    """Stands for `combine`, which needs two trained models, and counts its calls."""

    def __init__(self, monkeypatch, whole: float):
        self.calls, self._whole = 0, whole
        monkeypatch.setattr(combining, "combine", self)

    def __call__(self, stages, serving, data_dir):
        self.calls += 1
        judgement = Judgement(k=10, num_queries=7, retrieval_ndcg=0.5, whole=self._whole, difference=(-0.1, 0.1))
        summary = {
            "config": {"data": {}, "model": {"type": "two_stage"}},
            "two_stage": stages.described() | asdict(judgement),
            "evaluation": combining._evaluation(judgement),
        }
        if not judgement.is_no_worse:
            return Combined(judgement, summary, None)
        (serving.parent / "made").mkdir(parents=True, exist_ok=True)
        return Combined(
            judgement, summary, publish(str(serving.parent / "made"), str(serving), {"summary.json": b"{}"})
        )


@pytest.mark.parametrize("whole", [0.4, 0.6])
def test_a_combination_is_a_run_and_is_not_made_again(tmp_path, monkeypatch, capsys, whole):
    combinations = Combinations(monkeypatch, whole)
    options = TwoStageOptions()

    def run(options):
        return run_combination(tmp_path / "r", tmp_path / "s", options, "shop", tmp_path / "runs", None)

    first, second = run(options), run(options)
    assert combinations.calls == 1
    assert second.pushed_to == first.pushed_to
    assert (first.pushed_to is not None) == (whole > 0.5)
    assert first.summary["components"][0]["cached"] is False
    assert second.summary["components"][0]["cached"] is True
    assert "nDCG@10 over 7 queries: both stages 0." in capsys.readouterr().out
    runs = find_runs(tmp_path / "runs")
    assert [run.verdict for run in runs] == ["pushed" if whole > 0.5 else "not pushed"] * 2
    assert runs[0].model == "two_stage" and runs[0].main_metrics == {"ndcg_at_10": whole}
    run(TwoStageOptions(candidates=50))
    assert combinations.calls == 2
    # What servers take is the newest version, so an earlier combination is pushed again.
    run(options)
    assert combinations.calls == (3 if whole > 0.5 else 2)
