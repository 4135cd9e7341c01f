"""`python -m tests.flink_check`: runs both pipelines on Flink and in one process, compares, prints a table."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.example_gen.generated.ratings import write_synthetic
from pipeline.exit_codes import NOT_PUSHED
from tests import launcher
from tests.flink_check.artifacts import Missing, fetch_jars, require_tools
from tests.flink_check.cluster import PROJECT, Cluster

_DIRECTORY = PROJECT / ".flink"
_DATA = {"num_ratings": 20_000, "num_users": 200, "num_items": 300, "seed": 0}
_OVERRIDES = ("training.epochs=1", "evaluation.beat_baseline=false")
_KILLED = ("ExampleGen", "Transform")
_COMPARED = ("ExampleGen", "StatisticsGen", "Transform", "Evaluator")
_TIMEOUT = 1500
_ENDED = ("FINISHED", "FAILED", "CANCELED")


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    component: str
    local: float
    flink: float
    difference: str
    killed: str


class Killer:
    """Kills a task manager in the middle of a component's job, and starts another in its place.

    Attributes:
        outcomes: What happened, by component.
    """

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self.outcomes: dict[str, str] = {}
        self._threads: list[threading.Thread] = []

    def started(self, component: str) -> None:
        """Waits in the background for the job that the component submits."""
        before = {job["jid"] for job in self._cluster.jobs()}
        self._threads.append(threading.Thread(target=self._kill, args=(component, before), daemon=True))
        self._threads[-1].start()

    def wait(self) -> None:
        """Waits until every job that was hit has been looked at."""
        for thread in self._threads:
            thread.join(timeout=60)

    def _kill(self, component: str, before: set[str]) -> None:
        self.outcomes[component] = "no: the job ended first"
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            jobs = [job for job in self._cluster.jobs() if job["jid"] not in before]
            if any(job["state"] in _ENDED for job in jobs):
                return
            # In the middle: some tasks are done, others are running.
            if jobs and jobs[0]["tasks"]["finished"] and jobs[0]["tasks"]["running"]:
                break
            time.sleep(0.05)
        else:
            return
        job, tasks = jobs[0]["jid"], jobs[0]["tasks"]
        name = self._cluster.kill_task_manager()
        self._cluster.start_task_manager()
        self.outcomes[component] = f"{name}, {tasks['finished']} of {tasks['total']} tasks done; not recovered"
        while self._state(job) not in _ENDED:
            time.sleep(0.5)
        if self._state(job) == "FINISHED" and (failures := self._cluster.restarts(job)):
            self.outcomes[component] = (
                f"{name} with {tasks['finished']} of {tasks['total']} tasks done; {failures} failure(s) recovered from"
            )

    def _state(self, job: str) -> str:
        return next(each["state"] for each in self._cluster.jobs() if each["jid"] == job)


def main() -> int:
    """Runs the check; returns 0 if everything is equal and both kills were survived."""
    parser = argparse.ArgumentParser(prog="flink_check", description=__doc__)
    parser.add_argument("--reuse-local", action="store_true", help="keep the local pipelines' results of the last call")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        require_tools()
        jars = fetch_jars(_DIRECTORY)
    except Missing as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    site = _DIRECTORY / "check"
    if options.reuse_local:
        _forget(site, "*-flink*", "cluster", "*.parquet")
    else:
        shutil.rmtree(site, ignore_errors=True)
        site.mkdir(parents=True)
        write_synthetic(site / "data", **_DATA)
    table: list[Row] = []
    for preset in ("synthetic", "synthetic-two-tower"):
        if not options.reuse_local:
            _pipeline(site, preset, site / f"{preset}-local", ())
    with Cluster(jars, site / "cluster") as cluster:
        killer = Killer(cluster)
        on_flink = _beam(cluster)
        for preset in ("synthetic", "synthetic-two-tower"):
            kill = killer.started if preset == "synthetic" else None
            _pipeline(site, preset, site / f"{preset}-flink", on_flink, kill)
            killer.wait()
            outcomes = killer.outcomes if kill else {}
            table += _rows(preset, site / f"{preset}-local", site / f"{preset}-flink", outcomes)
            print(*table[-4:], sep="\n", flush=True)
        local_seconds = _recommend(site, site / "local.parquet", ())
        flink_seconds = _recommend(site, site / "flink.parquet", on_flink)
    from tests.flink_check import compare

    difference = compare.recommendations(site / "local.parquet", site / "flink.parquet")
    table.append(Row("synthetic-two-tower: recommend --all-users", local_seconds, flink_seconds, difference, "no"))
    _print(table)
    print(f"\n{time.monotonic() - began:.0f} seconds in all; logs of the cluster: {site / 'cluster'}")
    survived = all("recovered from" in killer.outcomes.get(component, "") for component in _KILLED)
    return int(not survived or any(row.difference for row in table))


def _forget(site: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in site.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _beam(cluster: Cluster) -> tuple[str, ...]:
    return (
        "beam.runner=flink",
        f"beam.job_endpoint={cluster.job_endpoint}",
        f"beam.environment_config={cluster.worker_pool}",
        "beam.parallelism=2",
    )


def _command(*arguments: str | Path, assignments: tuple[str, ...]) -> list[str]:
    return [
        str(launcher.binaries() / "recspan"),
        *map(str, arguments),
        *(word for each in assignments for word in ("--set", each)),
    ]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT)}


def _pipeline(
    site: Path, preset: str, root: Path, options: tuple[str, ...], started: Callable[[str], None] | None = None
) -> None:
    """Runs a pipeline; `started` is called at the start of each component that is to be hit."""
    print(f"{root.name} ...", flush=True)
    overrides = (*_OVERRIDES, *(("evaluation.max_rmse=null",) if preset == "synthetic" else ()), *options)
    command = _command(
        *("pipeline", "run", "--config", preset, "--data-dir", site / "data", "--root", root), assignments=overrides
    )
    with (site / f"{root.name}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            component = line.partition(" ...")[0]
            if started and component in _KILLED:
                started(component)
    if process.wait(timeout=_TIMEOUT) not in (0, NOT_PUSHED):
        raise SystemExit(f"{root.name} failed; see {site / f'{root.name}.log'}")


def _recommend(site: Path, output: Path, options: tuple[str, ...]) -> float:
    """Recommends to all users with the model of the local run; returns the seconds."""
    print(f"recommend into {output.name} ...", flush=True)
    began = time.monotonic()
    command = _command(
        *("recommend", "--all-users", "--output", output, "--exclude-seen", "--data-dir", site / "data"),
        *("--root", site / "synthetic-two-tower-local"),
        assignments=options,
    )
    subprocess.run(command, cwd=PROJECT, env=_environment(), check=True, timeout=_TIMEOUT)
    return time.monotonic() - began


def _rows(preset: str, local: Path, flink: Path, killed: dict[str, str]) -> list[Row]:
    from tests.flink_check import compare

    comparisons = (compare.examples, compare.statistics, compare.vocabularies, compare.metrics)
    seconds = [
        {row["component"]: row["seconds"] for row in json.loads(summary.read_text())["components"]}
        for summary in (next((root / "runs").glob("*/summary.json")) for root in (local, flink))
    ]
    return [
        Row(
            *(f"{preset}: {component}", seconds[0][component], seconds[1][component]),
            *(compared(local, flink), killed.get(component, "no")),
        )
        for component, compared in zip(_COMPARED, comparisons, strict=True)
    ]


def _print(table: list[Row]) -> None:
    print("\n| component | local seconds | Flink seconds | equal? | killed? |\n|---|---:|---:|---|---|")
    for row in table:
        equal = f"no: {row.difference}" if row.difference else "yes"
        print(f"| {row.component} | {row.local:.1f} | {row.flink:.1f} | {equal} | {row.killed} |")


if __name__ == "__main__":
    sys.exit(main())
