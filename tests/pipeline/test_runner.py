"""Components that begin early: beside others, but with the results of components that run one after another."""

import time
from pathlib import Path

import pytest
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, ExampleStatistics, Model, TransformGraph

from pipeline.local.runner import ObservedLocalRunner

_PATIENCE_SECONDS = 20


@component
def Rows(examples: OutputArtifact[Examples], marks: Parameter[str]):  # noqa: N802
    """What both of the others read."""
    Path(marks, "rows").touch()


@component
def Statistics(  # noqa: N802
    examples: InputArtifact[Examples],
    statistics: OutputArtifact[ExampleStatistics],
    marks: Parameter[str],
    waits_for: Parameter[str],
    fails: Parameter[int],
):
    """Comes before the graph, and ends only when another component has begun."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while waits_for and not Path(marks, waits_for).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{waits_for} has not begun")
        time.sleep(0.01)
    if fails:
        raise ValueError("bad statistics")
    Path(marks, "statistics").touch()


@component
def Graph(  # noqa: N802
    examples: InputArtifact[Examples],
    transform_graph: OutputArtifact[TransformGraph],
    marks: Parameter[str],
    fails: Parameter[int],
):
    """May begin early."""
    Path(marks, "graph").touch()
    if fails:
        raise ValueError("bad graph") from KeyError("a vocabulary")


@component
def Train(  # noqa: N802
    transform_graph: InputArtifact[TransformGraph], model: OutputArtifact[Model], marks: Parameter[str]
):
    """Reads the graph."""
    Path(marks, "train").touch()


class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.events = []

    def started(self, component: str) -> None:
        self.events.append(("started", component))

    def finished(self, component: str, seconds: float, cached: bool) -> None:
        self.events.append(("cached" if cached else "finished", component))

    def failed(self, component: str) -> None:
        self.events.append(("failed", component))


class Project:
    """The pipeline of the components above."""

    def __init__(self, directory: Path):
        self.directory = directory
        self._runs = 0

    def runner(self, early: tuple[str, ...]) -> tuple[ObservedLocalRunner, Recorder]:
        self._runs += 1
        recorder = Recorder()
        return ObservedLocalRunner(f"run-{self._runs}", recorder, early=early), recorder

    def pipeline(self, waits_for: str = "", bad_statistics: bool = False, bad_graph: bool = False):
        marks = str(self.directory)
        rows = Rows(marks=marks)
        examples = rows.outputs["examples"]
        statistics = Statistics(examples=examples, marks=marks, waits_for=waits_for, fails=int(bad_statistics))
        graph = Graph(examples=examples, marks=marks, fails=int(bad_graph))
        graph.add_upstream_node(statistics)
        train = Train(transform_graph=graph.outputs["transform_graph"], marks=marks)
        return tfx.dsl.Pipeline(
            pipeline_name="early",
            pipeline_root=str(self.directory / "artifacts"),
            components=[rows, statistics, graph, train],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                str(self.directory / "db.sqlite")
            ),
            enable_cache=True,
        )

    def has(self, mark: str) -> bool:
        return (self.directory / mark).exists()


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


EARLY = ("Graph",)


def test_an_early_component_runs_beside_one_that_comes_before_it(project):
    runner, recorder = project.runner(EARLY)
    runs = runner.run(project.pipeline(waits_for="graph"))
    assert [run.component for run in runs] == ["Rows", "Statistics", "Graph", "Train"]
    assert project.has("train")
    assert sorted(recorder.events[2:4]) == [("started", "Graph"), ("started", "Statistics")]
    rows, statistics, graph, train = runs
    assert rows.begun == 0
    assert max(statistics.begun, graph.begun) < statistics.begun + statistics.seconds <= train.begun


def test_without_it_components_run_one_after_another(project):
    runner, recorder = project.runner(())
    runs = runner.run(project.pipeline())
    names = [run.component for run in runs]
    assert recorder.events == [(event, name) for name in names for event in ("started", "finished")]


def test_if_one_before_it_fails_the_run_ends_there_and_a_later_run_takes_its_answer(project):
    runner, recorder = project.runner(EARLY)
    with pytest.raises(ValueError, match="bad statistics"):
        runner.run(project.pipeline(waits_for="graph", bad_statistics=True))
    assert runner.failed
    assert runner.failed.component == "Statistics"
    assert [run.component for run in runner.finished] == ["Rows"]
    assert ("failed", "Statistics") in recorder.events
    assert ("finished", "Graph") in recorder.events
    assert not project.has("train")
    runner, recorder = project.runner(EARLY)
    runs = runner.run(project.pipeline(waits_for="graph"))
    assert {run.component: run.cached for run in runs} == {
        "Rows": True,
        "Statistics": False,
        "Graph": True,
        "Train": False,
    }


def test_if_it_fails_those_before_it_still_run_and_the_run_ends_with_its_error(project):
    runner, recorder = project.runner(EARLY)
    with pytest.raises(ValueError, match="bad graph"):
        runner.run(project.pipeline(waits_for="graph", bad_graph=True))
    assert runner.failed
    assert runner.failed.component == "Graph"
    assert [run.component for run in runner.finished] == ["Rows", "Statistics"]
    assert recorder.events[-1] == ("failed", "Graph")
    assert not project.has("train")


def test_if_both_fail_the_error_is_that_of_the_first_in_the_pipeline(project):
    runner, _ = project.runner(EARLY)
    with pytest.raises(ValueError, match="bad statistics"):
        runner.run(project.pipeline(waits_for="graph", bad_statistics=True, bad_graph=True))
    assert runner.failed
    assert runner.failed.component == "Statistics"


def test_it_begins_only_when_what_it_reads_is_there(project):
    runner, recorder = project.runner(("Graph", "Train"))
    runner.run(project.pipeline(waits_for="graph"))
    assert recorder.events.index(("finished", "Graph")) < recorder.events.index(("started", "Train"))


@pytest.mark.parametrize("early", [(), EARLY])
def test_an_error_keeps_what_led_to_it(project, early):
    runner, _ = project.runner(early)
    with pytest.raises(ValueError, match="bad graph") as caught:
        runner.run(project.pipeline(bad_graph=True))
    assert isinstance(caught.value.__cause__, KeyError)
