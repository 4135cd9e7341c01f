"""Starts the processes that train trials, within a memory budget, and passes on what they say."""

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.tuning.messages import EVALUATED, FAILED
from trainer_module import memory
from trainer_module.errors import ConfigError, RecspanError

COMMAND = (sys.executable, "-m", "pipeline.tuning.worker")
# Keeps modules of the current directory from taking the place of the product's.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}


class Search(Protocol):
    """What decides on the trials."""

    def next_job(self) -> tuple[int, Mapping[str, Any]] | None:
        """Number and arguments of the next trial; None if no more are to begin."""
        ...

    def evaluated(self, number: int, message: Mapping[str, Any]) -> bool:
        """Takes an evaluation; returns whether the trial goes on."""
        ...

    def ended(self, number: int, message: Mapping[str, Any]) -> None:
        """Takes the message that ends a trial."""
        ...


@dataclass(frozen=True)
class Resources:
    """What one worker may use.

    Attributes:
        memory_gb: Gigabytes.
        threads: Threads of an operation; None leaves it to TensorFlow.
    """

    memory_gb: float
    threads: int | None

    @classmethod
    def of_each(cls, jobs: int, total: memory.MemoryBudget, cores: int) -> "Resources":
        """Divides a budget among workers, beside this process, which has imported TFX too.

        Raises:
            ConfigError: There are more workers than the budget holds.
        """
        for_workers = (total.total - memory.FIXED_BYTES) / memory.GIGABYTE
        if for_workers < jobs * memory.LEAST_GB:
            fitting = int(for_workers / memory.LEAST_GB)
            way_out = f"give at most {fitting}, or raise memory_gb" if fitting > 0 else "raise memory_gb"
            raise ConfigError(
                f"--jobs {jobs}: each process needs at least {memory.LEAST_GB:g} GB, and the command itself "
                f"{memory.FIXED_BYTES / memory.GIGABYTE:g}; the budget is {total.total / memory.GIGABYTE:.1f}. "
                f"To go on, {way_out}"
            )
        # One worker trains as the pipeline's Trainer does.
        return cls(for_workers / jobs, max(1, cores // jobs) if jobs > 1 else None)

    @property
    def environment(self) -> dict[str, str]:
        threads = {"TF_NUM_INTRAOP_THREADS": str(self.threads)} if self.threads else {}
        return {memory.ENVIRONMENT: repr(self.memory_gb), **threads}


@dataclass
class _Worker:
    """A process and the trial that it trains.

    Attributes:
        process: It talks over its standard input and output.
        log: File of everything else that it writes.
        trial: Number of its trial; None while it has none.
    """

    process: subprocess.Popen[str]
    log: Path
    trial: int | None = field(default=None)

    def answer(self, content: Any) -> None:
        assert self.process.stdin is not None
        # If it has ended, that is noticed where its next message is read.
        with suppress(BrokenPipeError):
            print(json.dumps(content), file=self.process.stdin, flush=True)

    def read(self) -> dict[str, Any] | None:
        """Its next message; None if it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None


def run_search(search: Search, jobs: int, resources: Resources, directory: Path) -> None:
    """Trains the trials of a search; returns when it has no more.

    A worker that dies, for instance because the system is out of memory, fails its trial and is replaced.

    Args:
        search: Decides on the trials. It is called from this thread alone.
        jobs: Number of trials that train at the same time.
        resources: Of each worker.
        directory: For the workers' logs.

    Raises:
        RecspanError: A worker could not start.
    """
    with ExitStack() as stack, selectors.DefaultSelector() as selector:

        def start(log: Path) -> None:
            worker = _start(log, resources)
            stack.callback(_end, worker.process)
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]

        def retire(worker: _Worker) -> None:
            selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
            assert worker.process.stdin is not None
            worker.process.stdin.close()
            worker.process.wait()

        for number in range(jobs):
            start(directory / f"worker-{number}.log")
        while selector.get_map():
            for key, _ in selector.select():
                worker: _Worker = key.data
                message = worker.read()
                if message is None:
                    retire(worker)
                    _fail(worker, search)
                    start(worker.log)
                elif message["kind"] == EVALUATED:
                    assert worker.trial is not None
                    worker.answer(search.evaluated(worker.trial, message))
                else:
                    if worker.trial is not None:
                        search.ended(worker.trial, message)
                    job = search.next_job()
                    worker.trial = job and job[0]
                    worker.answer(job and job[1])
                    if job is None:
                        retire(worker)


def _fail(worker: _Worker, search: Search) -> None:
    ended = f"ended with code {worker.process.returncode} (log: {worker.log})"
    if worker.trial is None:
        raise RecspanError(f"a process for trials {ended} before its first trial")
    search.ended(worker.trial, {"kind": FAILED, "reason": f"the process that trained it {ended}"})


def _start(log: Path, resources: Resources) -> _Worker:
    with log.open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | _SAFE_PATH | resources.environment,
        )
    return _Worker(process, log)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
