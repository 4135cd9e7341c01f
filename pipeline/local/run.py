"""Starts a local run: opens its log, shows its progress, turns its failure into a message.

TensorFlow and TFX are imported only inside, when their chatter already goes to the log.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import Locations, PipelineConfig
from pipeline.console import ComponentProgress, chatter_to
from pipeline.report import print_report
from trainer_module.errors import RecspanError


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to.

    Attributes:
        summary: The content of its `summary.json`.
        pushed_to: Directory of the pushed version; None if the model was not pushed.
    """

    summary: dict[str, Any]
    pushed_to: Path | None


def run_locally(config: PipelineConfig, locations: Locations) -> RunOutcome | None:
    """Runs the pipeline with TFX's local runner, shows its progress and writes its summary.

    Returns:
        The outcome; None if no component was started, which is how the `tfx` CLI reads a pipeline's definition.

    Raises:
        RecspanError: A component failed; the message begins with the cause and names the log file.
    """
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    run_dir = locations.root / "runs" / run_id
    log_file = run_dir / "log.txt"
    with chatter_to(log_file) as console, ComponentProgress(console) as progress:
        try:
            progress.started("importing TensorFlow and TFX")
            from pipeline.local.execution import execute

            outcome = execute(config, locations, run_id, run_dir, progress)
        except Exception as error:
            raise _readable(error, progress.current, log_file) from error
    if outcome is not None:
        print_report(outcome.summary)
    return outcome


def _readable(error: Exception, component: str | None, log_file: Path) -> RecspanError:
    """The error that a person sees: the product's own message if there is one, else what was raised last."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    ours = [cause for cause in chain if isinstance(cause, RecspanError)]
    where = f"{component} failed: " if component else ""
    if ours:
        return type(ours[-1])(f"{where}{ours[-1]}\n(log: {log_file})")
    return RecspanError(f"{where}{type(error).__name__}: {error}\n(log: {log_file})")
