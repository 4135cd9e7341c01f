"""A standalone Flink cluster, Beam's job server and a pool of Python workers, as processes of this machine."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tests import launcher
from tests.ports import free_ports

PROJECT = Path(__file__).parents[2]
# Flink's own start scripts open the same packages of the Java runtime.
_OPENED = (
    *("java.base/java.util", "java.base/java.lang", "java.base/java.nio", "java.base/sun.nio.ch", "java.base/java.net"),
    *("java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic", "java.base/java.lang.invoke"),
    "java.base/java.time",
)
# One slot per task manager, so that a job of two parallel tasks needs both. A lost one is noticed within seconds, and
# counts as one attempt for each of its tasks, of which Transform has hundreds.
_CONFIGURATION = """
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: localhost
jobmanager.memory.process.size: 1g
rest.address: localhost
rest.bind-address: localhost
rest.port: {rest}
heartbeat.interval: 1000
heartbeat.timeout: 8000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 1000
restart-strategy.fixed-delay.delay: 1 s
classloader.resolve-order: parent-first
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.numberOfTaskSlots: 1
taskmanager.cpu.cores: 1.0
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 640m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.network.min: 512m
taskmanager.memory.network.max: 512m
taskmanager.memory.managed.size: 256m
taskmanager.memory.jvm-metaspace.size: 512m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
"""
_LOGGING = """
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
appender.console.name=console
appender.console.type=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1} %m%n
"""
_STARTED_WITHIN = 240.0


class Cluster:
    """The processes; leaving the context ends them all.

    Attributes:
        job_endpoint: Address of Beam's job server.
        worker_pool: Address of the pool of Python workers.
    """

    def __init__(self, jars: Path, directory: Path):
        """Writes the configuration.

        Args:
            jars: Directory of Flink and Beam.
            directory: Gets the configuration and a log per process.
        """
        directory.mkdir(parents=True, exist_ok=True)
        rpc, self._rest, job, self._artifact, pool = free_ports(5)
        self._directory, self._jars = directory, jars
        self.job_endpoint, self.worker_pool = f"localhost:{job}", f"localhost:{pool}"
        (directory / "config.yaml").write_text(_CONFIGURATION.format(rpc=rpc, rest=self._rest))
        (directory / "log4j.properties").write_text(_LOGGING)
        self._processes: list[subprocess.Popen] = []
        self._task_managers: dict[int, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        configured = ("--configDir", str(self._directory))
        self._java(
            "job-manager", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "512m", *configured
        )
        for _ in range(2):
            self.start_task_manager()
        self._java(
            *("job-server", "org.apache.beam.runners.flink.FlinkJobServerDriver", "512m"),
            f"--flink-master=localhost:{self._rest}",
            f"--job-port={self.job_endpoint.rpartition(':')[2]}",
            f"--artifact-port={self._artifact}",
            "--expansion-port=-1",
            f"--artifacts-dir={self._directory / 'staged'}",
        )
        # The pool starts workers as `python`: here one that forks, since each stage of a job gets new workers, and
        # each would import TensorFlow again. Keras 2 has to be chosen before TensorFlow is imported.
        environment = {
            "PATH": f"{launcher.binaries()}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "TF_USE_LEGACY_KERAS": "1",
        }
        port = self.worker_pool.rpartition(":")[2]
        self._start("worker-pool", [sys.executable, "-m", "tests.flink_check.worker_pool", port], environment)
        try:
            self._wait_until_ready()
        except RuntimeError:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            if psutil.pid_exists(process.pid):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()

    def start_task_manager(self) -> None:
        """Adds a task manager."""
        number = len(self._task_managers)
        self._task_managers[number] = self._java(
            f"task-manager-{number}",
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            "1g",
            *("--configDir", str(self._directory)),
        )

    def kill_task_manager(self) -> str:
        """Kills the oldest task manager that runs, with SIGKILL; returns its name."""
        number, process = next(
            (number, process) for number, process in self._task_managers.items() if process.poll() is None
        )
        process.kill()
        process.wait()
        return f"task-manager-{number}"

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs: identifier `jid`, `state`, and `tasks` by state."""
        return self._ask("/jobs/overview")["jobs"]

    def restarts(self, job: str) -> int:
        """Number of failures of a job from which Flink recovered."""
        return len(self._ask(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"])

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://localhost:{self._rest}{path}", timeout=20) as answer:
            return json.load(answer)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _STARTED_WITHIN
        while time.monotonic() < deadline:
            if dead := [process.args for process in self._processes if process.poll() is not None]:
                raise RuntimeError(f"{dead[0]} ended; see the logs in {self._directory}")
            try:
                if self._ask("/overview")["taskmanagers"] == 2 and all(
                    map(_answers, (self.job_endpoint, self.worker_pool))
                ):
                    return
            except OSError:
                pass  # not up yet
            time.sleep(0.5)
        raise RuntimeError(f"the cluster did not start within {_STARTED_WITHIN:.0f} s; see {self._directory}")

    def _java(self, name: str, main: str, heap: str, *arguments: str) -> subprocess.Popen:
        jars = sorted(self._jars.glob("*.jar"))
        if name == "job-server":
            # Jobs carry the job server's jars with them, and the cluster's own remote calls are not among its needs.
            jars = [jar for jar in jars if not jar.name.startswith("flink-rpc-akka-loader")]
        command = [
            "java",
            f"-Xmx{heap}",
            *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
            f"-Dlog4j.configurationFile={self._directory / 'log4j.properties'}",
            *("-cp", os.pathsep.join(map(str, jars)), main, *arguments),
        ]
        return self._start(name, command, {})

    def _start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen:
        with (self._directory / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        return True
