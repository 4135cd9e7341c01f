"""What a run leaves behind that a component has stopped: its page, and its facts for `recspan runs`."""

from collections.abc import Sequence
from pathlib import Path

from components.drift.component import DriftFound
from components.example_validator.component import AnomaliesFound
from components.pusher.summary import run_facts
from components.run_report.artifacts import RunArtifacts
from components.run_report.compose import compose
from components.run_report.stop import Stop
from components.run_report.uris import uris_of
from pipeline.config import Locations, PipelineConfig
from pipeline.failures import chain, describe
from pipeline.history.layout import STOPPED_FILE
from pipeline.local.artifacts import artifacts_made, judged_model
from pipeline.local.outcome import ComponentRun, FailedComponent, component_rows, write_summary
from pipeline.run_page.write import write_page
from pipeline.wiring_names import DATA_COMPONENTS
from trainer_module.errors import DataError, RecspanError


def write_stopped(
    config: PipelineConfig,
    locations: Locations,
    run_dir: Path,
    finished: Sequence[ComponentRun],
    failed: FailedComponent,
    error: Exception,
) -> None:
    """Writes `stopped.json` and `report.html` of a run that did not come to its verdict.

    Args:
        config: The experiment.
        locations: Where the run read and wrote.
        run_dir: Directory of the run.
        finished: The components before the one that failed.
        failed: That one.
        error: What it raised.
    """
    stop = stop_of(failed.component, error)
    made = artifacts_made(locations.metadata, finished)
    model = judged_model(made)
    summary = run_facts(
        config.without_local_paths().model_dump(mode="json"),
        locations.data,
        made.get("examples"),
        model.uri if model else "",
        made["evaluation"].uri if "evaluation" in made else "",
    )
    if "trained_model" in made and config.dataset.task != "retrieval":
        # The Trainer's model is the one that is judged.
        made["model"] = made["trained_model"]
    made.pop("trained_model", None)
    facts = summary | {
        "verdict": stop.verdict,
        "component": stop.component,
        "message": stop.message,
        "refused_data": is_refusal_of_data(stop.component, error),
        "components": component_rows(finished, failed),
        "log": str(run_dir / "log.txt"),
    }
    if stop.drift:
        facts["drift"] = stop.drift.as_summary()
    # Kept although the page may fail.
    write_summary(run_dir, facts, STOPPED_FILE)
    run = RunArtifacts(config.dataset, summary, config.model_card, uris_of(made), stop=stop)
    write_page(compose(run, config.pipeline_name), facts, run_dir)
    write_summary(run_dir, facts, STOPPED_FILE)


def stop_of(component: str, error: Exception) -> Stop:
    """What stopped a run.

    Args:
        component: That failed.
        error: What it raised.
    """
    raised = _cause(error)
    is_refusal = isinstance(raised, RecspanError) and (
        not isinstance(raised, DataError) or is_refusal_of_data(component, raised)
    )
    return Stop(
        component=component,
        verdict=(raised.verdict if is_refusal else "") or f"failed in {component}",
        message=describe(error),
        drift=raised.report if isinstance(raised, DriftFound) else None,
        findings=raised.findings if isinstance(raised, AnomaliesFound) else (),
    )


def is_refusal_of_data(component: str, error: Exception) -> bool:
    """Whether a component that looks at the data before anything is trained refused them."""
    return component in DATA_COMPONENTS and isinstance(_cause(error), DataError)


def _cause(error: Exception) -> BaseException:
    """The product's own error that led to this one, which holds what it found; the error itself if there is none."""
    return next((each for each in reversed([*chain(error)]) if isinstance(each, RecspanError)), error)
