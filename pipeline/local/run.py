"""Entry point of local runs: opens the log, shows progress, turns a failure into a message.

TensorFlow and TFX are imported inside `run_locally`, so that what they print goes to the log.
"""

import contextlib
import gc
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from components.pusher import fresh_process
from components.run_report import vega
from components.run_report.layout import REPORT_FILE
from pipeline.config import Locations, PipelineConfig
from pipeline.console import ComponentProgress, output_to
from pipeline.failures import chain, describe
from pipeline.local import unchanged
from pipeline.local.outcome import RunOutcome, write_summary
from pipeline.local.root import occupied
from pipeline.report import print_report
from pipeline.roots import require_writable
from pipeline.run_page.write import write_component_page
from pipeline.streams import LosableStream
from trainer_module.errors import RecspanError
from trainer_module.memory import check as check_memory

# Not one of the product's loggers, whose messages are shown on the console too.
_log = logging.getLogger("recspan")


def run_locally(config: PipelineConfig, locations: Locations, ask_tfx: bool = False) -> RunOutcome | None:
    """Runs the pipeline with TFX's local runner, shows its progress and writes its summary.

    Args:
        config: The experiment.
        locations: Where it reads and writes.
        ask_tfx: Whether TFX runs even if nothing has changed since the last run; the `tfx` CLI looks for its runner.

    Returns:
        The outcome; None if no component was started, which happens when the `tfx` CLI reads a pipeline's definition.

    Raises:
        RecspanError: A component failed; the message begins with the cause and names the log file. Or the root cannot
            be used, for instance because another run is using it, or the machine has less memory than the budget. Or
            a Beam job is to run on Dataflow.
    """
    run_id = new_run_id()
    config.beam.check_local()
    require_writable(locations.root, "--root")
    if config.memory_gb is not None:
        check_memory(config.memory_gb, "memory_gb")
    run_dir = locations.root / "runs" / run_id
    log_file = run_dir / "log.txt"
    with occupied(locations.root, run_id), output_to(log_file) as console, ComponentProgress(console) as progress:
        if locations.root.is_symlink():
            console.print(f"root: {locations.root}, a link to {os.readlink(locations.root)}", markup=False)
        console.file = cast(IO[str], LosableStream(console.file))
        try:
            answered = None if ask_tfx else _answered(config, locations, run_dir, progress)
            outcome = answered or _executed(config, locations, run_id, run_dir, progress)
        except Exception as error:
            raise user_facing_error(error, progress.current, log_file) from error
    if outcome is not None:
        with contextlib.redirect_stdout(cast(IO[str], LosableStream(sys.stdout))):
            print_report(outcome.summary)
            sys.stdout.flush()
    return outcome


def new_run_id() -> str:
    """Name of a run that begins now, in UTC."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")


def _answered(
    config: PipelineConfig, locations: Locations, run_dir: Path, progress: ComponentProgress
) -> RunOutcome | None:
    """The outcome of the last run, if nothing has changed since."""
    summary = unchanged.answer(config, locations)
    if summary is None:
        return None
    _log.info("nothing has changed since the last run: %s", summary["log"])
    for each in summary["components"]:
        each |= {"seconds": 0.0, "cached": True}
        for measured in ("begun", "peak_memory_gb"):
            each.pop(measured, None)
        progress.finished(each["component"], 0.0, cached=True)
    # What was executed is found under the name of the run that executed it.
    summary.setdefault("answered_by", Path(summary["log"]).parent.name)
    summary["log"] = str(run_dir / "log.txt")
    if "page" in summary:
        write_component_page(summary, run_dir)
    write_summary(run_dir, summary)
    return RunOutcome(summary, Path(summary["pushed_to"]) if "pushed_to" in summary else None)


def _executed(
    config: PipelineConfig, locations: Locations, run_id: str, run_dir: Path, progress: ComponentProgress
) -> RunOutcome | None:
    """The outcome of all components, which TFX runs or answers from its cache."""
    progress.begins("importing TensorFlow and TFX")
    if config.memory_gb is None:
        # Imports take one core. With a budget for memory, both processes are started when they are needed.
        fresh_process.prepare()
        vega.prepare()
    # Of the million objects that imports make, none is garbage, but looking for it takes a sixth of their time.
    gc.disable()
    try:
        from pipeline.local.execution import execute
    finally:
        gc.enable()

    # What was imported stays to the end. Collections, one of them after each component, need not look at it.
    gc.freeze()
    begun = unchanged.read_state(config, locations)
    outcome = execute(config, locations, run_id, run_dir, progress)
    if outcome is not None:
        unchanged.remember(config, locations, run_dir, begun)
    return outcome


def user_facing_error(error: Exception, component: str | None, log_file: Path) -> RecspanError:
    """The error for the person; its traceback goes to the run's log."""
    _log.error("the run failed", exc_info=error)
    prefix = f"{component} failed: " if component else ""
    report = log_file.with_name(REPORT_FILE)
    lines = [f"{prefix}{describe(error)}", *getattr(error, "__notes__", ())]
    if report.is_file():
        lines.append(f"(report: {report})")
    message = "\n".join([*lines, f"(log: {log_file})"])
    own = [each for each in chain(error) if isinstance(each, RecspanError)]
    return type(own[-1])(message) if own else RecspanError(message)
