"""Runs the pipeline on a span in a process of its own, so that whatever ends it does not end the loop."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.example_gen.config import DataConfig
from pipeline.continuous.arrivals import Arrival
from pipeline.continuous.journal import Day
from pipeline.exit_codes import INTERRUPTED, PREEMPTED
from pipeline.history.records import Run, find_runs
from trainer_module.errors import RecspanError

COMMAND = (sys.executable, "-m", "pipeline.continuous.recspan")
# Keeps modules of the current directory from taking the place of the product's.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}


class Stop:
    """Takes SIGINT and SIGTERM for this process and passes the first on to the running pipeline, which saves its state.

    Attributes:
        signal: The signal that has come; None if none has.
    """

    def __init__(self) -> None:
        """Takes over the signals of this process; call it in the main thread."""
        self.signal: signal.Signals | None = None
        self._event = threading.Event()
        self._process: subprocess.Popen | None = None
        # Taken by what passes the signal on: the handler, or `call` if the signal came while the process started.
        self._passing_on = threading.Lock()
        for number in (signal.SIGINT, signal.SIGTERM):
            # As of a command that a shell runs in the background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def wait(self, seconds: float) -> bool:
        """Waits for so long at most; returns whether to stop."""
        return self._event.wait(seconds)

    @property
    def exit_code(self) -> int:
        """Of this process, if it was stopped."""
        return INTERRUPTED if self.signal == signal.SIGINT else PREEMPTED

    def call(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Runs a command to its end and returns its exit code."""
        # In a group of its own it gets Ctrl-C once, from here.
        self._process = subprocess.Popen(command, env=dict(environment), process_group=0)
        self._pass_on()
        try:
            return self._process.wait()
        finally:
            self._process = None

    def _take(self, number: int, _: Any) -> None:
        self.signal = signal.Signals(number)
        self._event.set()
        self._pass_on()

    def _pass_on(self) -> None:
        if self._process is not None and self.signal is not None and self._passing_on.acquire(blocking=False):
            self._process.send_signal(self.signal)


class SpanRunner:
    """Runs `recspan pipeline run` with a window that ends at a given span."""

    def __init__(
        self, arguments: Sequence[str], overrides: Mapping[str, Any], data: DataConfig, root: Path, stop: Stop
    ):
        """Sets what is the same for all spans.

        Args:
            arguments: Of `recspan pipeline run`, without overrides.
            overrides: Values by dotted key.
            data: The section `data`, whose own `leave_out` stays in force.
            root: Of the runs.
            stop: Passes signals on.
        """
        self._arguments, self._overrides, self._data = arguments, overrides, data
        self._root, self._stop = root, stop

    def __call__(self, arrival: Arrival, left_out: tuple[str, ...], is_accepted: bool) -> Day | None:
        """Runs it; None if it was asked to stop meanwhile. Implements `RunSpan`.

        Raises:
            RecspanError: The run could not begin, so that no other could either.
        """
        before = {run.id for run in find_runs(self._root)}
        code = self._stop.call(self._command(arrival, left_out, is_accepted), os.environ | _SAFE_PATH)
        if self._stop.signal is not None:
            return None
        new = [run for run in find_runs(self._root) if run.id not in before]
        if not new:
            raise RecspanError(
                f"the run on span {arrival.name} could not begin (exit code {code}); its message stands above. Mend "
                "that, and start the same command again"
            )
        return day_of(arrival, new[-1])

    def _command(self, arrival: Arrival, left_out: tuple[str, ...], is_accepted: bool) -> list[str]:
        spans = [*map(str, self._data.leave_out), *left_out]
        overrides = dict(self._overrides) | {"data.last_span": _value(arrival.name)}
        if is_accepted:
            overrides["validation.drift.action"] = "warn"
        if spans:
            overrides["data.leave_out"] = [_value(span) for span in dict.fromkeys(spans)]
        assignments = [part for key, value in overrides.items() for part in ("--set", f"{key}={_text(value)}")]
        return [*COMMAND, "pipeline", "run", *self._arguments, *assignments]


def day_of(arrival: Arrival, run: Run) -> Day:
    """What became of a span, as the run's summary or the metadata store tells."""
    summary = run.summary
    if summary is None:
        stopped = run.stopped or {}
        drift = stopped.get("drift")
        return Day(
            span=arrival.span,
            name=arrival.name,
            digest=arrival.digest,
            verdict="refused" if stopped.get("refused_data") else "failed",
            reason=f"{run.verdict}, see {run.report or run.directory / 'log.txt'}",
            run=run.id,
            drift=None if drift is None else len(drift["findings"]),
        )
    moved = summary["training"]["warm_start"]
    drift = summary.get("drift")
    return Day(
        span=arrival.span,
        name=arrival.name,
        digest=arrival.digest,
        verdict="pushed" if summary["blessing"]["push"] else "not pushed",
        reason=summary["blessing"]["reason"],
        run=run.id,
        metrics=run.main_metrics,
        new_tokens=sum(table["new"] for table in moved) if moved else None,
        table_rows=sum(summary["training"]["table_rows"].values()),
        drift=None if drift is None else len(drift["findings"]),
    )


def _value(span: str) -> int | str:
    return int(span) if span.isdigit() else span


def _text(value: Any) -> str:
    # JSON is YAML.
    return json.dumps(value)
