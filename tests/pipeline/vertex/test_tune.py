"""Searches whose trials are runs on Vertex AI, against a local server that ends the runs."""

import json
from pathlib import Path

import pytest

from components.google_cloud.calls import Patience
from pipeline.tuning.cloud import CloudOrder, search_in_cloud
from pipeline.tuning.cloud_runs import VertexRuns
from pipeline.tuning.space import Range, SearchSpace, Start, without_pruner
from pipeline.tuning.study import DIVERGED, FAILED, FINISHED
from pipeline.vertex.compile import compile_job
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.service import VertexService
from trainer_module.errors import ConfigError, RecspanError

from .experiments import SECTION, experiment
from .server import Fault

JOBS = "/v1/projects/my-project/locations/us-central1/pipelineJobs"
RATE = "training.embedding_optimizer.learning_rate"
SPACE = SearchSpace(parameters={RATE: Range(low=1e-3, high=1e-1, log=True)}, pruner="none")
QUICK = Patience(attempt=5, first_wait=0.01, longest_wait=0.02, total=10)


class Killed(BaseException):
    """Ends a search as a signal does."""


class Quiet:
    def started(self, component: str) -> None: ...

    def finished(self, component: str, seconds: float, cached: bool) -> None: ...


class World:
    """A search, and what the service does with its runs.

    Attributes:
        lines: What was noted.
        most: Largest number of runs under way at the same time.
        fate: State and metric of each run, by the learning rate that its Trainer was given.
    """

    def __init__(self, server, directory: Path):
        self.server, self.directory = server, directory
        self.lines: list[str] = []
        self.most = 0
        self.fate = lambda rate: ("SUCCEEDED", abs(rate - 0.01))
        self.start = Start.read(None, {"data.dataset": "synthetic", "name": "small", "vertex": SECTION})

    def search(self, trials: int, jobs: int = 1, wait=None):
        vertex = VertexConfig.model_validate(SECTION | {"endpoint": self.server.url})
        runs = VertexRuns(vertex, VertexService(vertex, QUICK))
        order = CloudOrder(self.start, SPACE, trials, jobs, self.directory)
        return search_in_cloud(order, runs, Quiet(), self.lines.append, wait or self.end_all)

    def pending(self) -> list[dict]:
        return [run for run in self.server.resources.values() if run["state"] == "PIPELINE_STATE_PENDING"]

    def end_all(self) -> None:
        """Ends the runs that are under way, as their learning rates have it."""
        under_way = self.pending()
        assert under_way, "the search waits for nothing"
        self.most = max(self.most, len(under_way))
        for run in under_way:
            state, metric = self.fate(rate_of(run))
            model = self.directory / run["name"].rpartition("/")[2] / "model"
            model.mkdir(parents=True)
            report = {"selection_metric": "rmse", "metrics": {"mae": 9.0, "rmse": metric}}
            (model / "training.json").write_text(json.dumps(report))
            outputs = {"model": {"artifacts": [{"uri": str(model)}]}}
            details = [{"taskName": "Transform"}, {"taskName": "Trainer", "outputs": outputs}]
            run |= {"state": f"PIPELINE_STATE_{state}", "endTime": "2030-01-02T03:05:05Z"}
            run |= (
                {"jobDetail": {"taskDetails": details}} if state == "SUCCEEDED" else {"error": {"message": "no disk"}}
            )


def rate_of(run: dict) -> float:
    """The learning rate that the Trainer of a submitted pipeline gets."""
    task = run["pipelineSpec"]["root"]["dag"]["tasks"]["Trainer"]
    (config,) = task["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constantValue"].values()
    return json.loads(json.loads(config)["experiment"])["training"]["embedding_optimizer"]["learning_rate"]


@pytest.fixture
def world(server, credentials, tmp_path) -> World:
    return World(server, tmp_path)


def test_each_trial_is_a_run_of_the_pipeline_up_to_the_trainer(world):
    result = world.search(trials=4, jobs=2)
    assert [trial.outcome for trial in result.trials] == [FINISHED] * 4
    assert result.metric == "rmse" and world.most == 2
    first, *others = sorted(result.trials, key=lambda trial: trial.number)
    # The experiment as it is: its own rate.
    assert first.is_start and first.metric == pytest.approx(abs(world.start.value(RATE) - 0.01))
    for trial in others:
        assert trial.metric == pytest.approx(abs(trial.values[RATE] - 0.01))
    assert first.seconds == 60
    runs = list(world.server.resources.values())
    tasks = {name for run in runs for name in run["pipelineSpec"]["root"]["dag"]["tasks"]}
    assert {"ExampleGen", "Transform", "Trainer"} <= tasks and not {"Evaluator", "Pusher", "Baseline"} & tasks
    # What trials share comes from the cache.
    dags = [run["pipelineSpec"]["root"]["dag"]["tasks"] for run in runs]
    assert all(task["cachingOptions"]["enableCache"] for dag in dags for task in dag.values())
    assert any(line.startswith("trial 0: run small-tune-") for line in world.lines)
    assert result.best == min(result.trials, key=lambda trial: trial.metric)


def test_a_killed_search_finds_its_runs_again(world):
    def killed():
        raise Killed

    with pytest.raises(Killed):
        world.search(trials=3, jobs=2, wait=killed)
    begun = list(world.server.resources)
    assert len(begun) == 2
    result = world.search(trials=3, jobs=2)
    assert [trial.outcome for trial in result.trials] == [FINISHED] * 3
    # Both went on, and one more was started.
    assert list(world.server.resources)[:2] == begun and len(world.server.resources) == 3
    # Once more, there is nothing left to do.
    assert world.search(trials=3).trials == result.trials
    assert len(world.server.resources) == 3


def test_a_search_that_is_killed_before_its_run_is_started_starts_it(world):
    world.server.faults = [Fault(403, "no")]
    with pytest.raises(RecspanError, match=r"roles/aiplatform\.user"):
        world.search(trials=1)
    assert not world.server.resources
    result = world.search(trials=1)
    assert [trial.number for trial in result.trials] == [0] and len(world.server.resources) == 1


def test_a_run_whose_answer_is_lost_is_not_started_twice(world):
    world.server.faults = [Fault(503, after=True)]
    assert world.search(trials=1).trials[0].outcome == FINISHED
    assert len(world.server.resources) == 1


def test_trials_that_fail_or_diverge_do_not_end_the_search(world):
    own = world.start.value(RATE)
    fates = {True: ("FAILED", 0), False: ("SUCCEEDED", float("nan"))}
    world.fate = lambda rate: ("SUCCEEDED", 0.5) if rate == own else fates[rate > 0.01]
    result = world.search(trials=8)
    outcomes = {trial.outcome for trial in result.trials}
    assert outcomes <= {FINISHED, FAILED, DIVERGED} and FAILED in outcomes
    failed = next(trial for trial in result.trials if trial.outcome == FAILED)
    assert failed.reason.startswith("no disk (https://")
    assert result.best is not None and result.best.is_start


def test_an_experiment_that_cannot_be_trained_ends_the_search(world):
    world.fate = lambda rate: ("FAILED", 0)
    with pytest.raises(RecspanError, match=r"the experiment cannot be trained as it is: no disk"):
        world.search(trials=3)


def test_a_run_without_a_model_is_an_error(world):
    def end_without_details():
        (run,) = world.pending()
        run |= {"state": "PIPELINE_STATE_SUCCEEDED", "endTime": "2030-01-02T03:05:05Z"}

    with pytest.raises(RecspanError, match="its details name no output 'model' of the task Trainer"):
        world.search(trials=1, wait=end_without_details)


def test_another_experiment_is_not_mixed_in(world):
    world.search(trials=1)
    other = {"data.dataset": "synthetic", "name": "small", "vertex": SECTION, "embeddings.dim": 4}
    world.start = Start.read(None, other)
    with pytest.raises(ConfigError, match=r"study.sqlite: holds trials of another experiment"):
        world.search(trials=1)


def test_nothing_can_be_pruned(world):
    assert without_pruner(SearchSpace(parameters=SPACE.parameters)).pruner == "none"
    with pytest.raises(ConfigError, match=r"set pruner: none in the search space"):
        without_pruner(SearchSpace(parameters=SPACE.parameters, pruner="median"))


def test_a_trainer_of_its_own_machine_is_compiled_too():
    job = compile_job(experiment({"trainer": {"machine": "n1-standard-8"}}), only_training=True)
    assert "Trainer" in job["pipelineSpec"]["root"]["dag"]["tasks"]
