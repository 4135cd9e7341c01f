"""Runs an experiment of two stages: trains both models, each as a pipeline of its own, and combines them.

A run of the whole lies beside those of its stages below `ROOT/runs`. What has not changed is not run again: the stages
answer for themselves, and the combination is answered from the last one of the same versions.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from components.pusher.layout import SUMMARY_FILE_NAME
from components.pusher.publish import latest_version
from pipeline.ask.versions import data_config, read_summary
from pipeline.config import Locations, PipelineConfig
from pipeline.console import ComponentProgress, output_to
from pipeline.history.records import choose, find_runs
from pipeline.local.outcome import RunOutcome, write_summary
from pipeline.local.root import occupied
from pipeline.local.run import new_run_id, run_locally, user_facing_error
from pipeline.report import print_report
from pipeline.roots import require_writable, usable_root
from pipeline.two_stage.config import (
    RANKING,
    RETRIEVAL,
    TWO_STAGE,
    TwoStageConfig,
    TwoStageOptions,
    check_same_history,
    check_split_alike,
)
from trainer_module.errors import ConfigError, ModelError
from trainer_module.source_hash import source_hash

COMPONENT = "TwoStage"


def run_two_stage(config: TwoStageConfig, root: Path, data_dir: Path | None) -> RunOutcome | None:
    """Trains the stages that are not there already, combines them, judges the whole and pushes it if it is no worse.

    Args:
        config: The experiment.
        root: Directory for everything that runs leave behind.
        data_dir: Directory of the raw files; None means where the section `data` says.

    Returns:
        The outcome of the whole; None if a stage was not good enough to push.

    Raises:
        ConfigError: A version or run that the experiment names is not there, it was split otherwise than the stage that
            is to be trained, or the models do not fit together.
        RecspanError: A component failed.
    """
    # What is there already is looked for before anything is trained.
    versions = {
        stage: _version(each, usable_root(root), stage)
        for stage, each in config.stages.items()
        if not isinstance(each, PipelineConfig)
    }
    if len(versions) == 1:
        _check_data(config, versions)
    console = Console(highlight=False)
    for stage, each in config.stages.items():
        if not isinstance(each, PipelineConfig):
            continue
        named = each.model_copy(update={"name": f"{config.name}-{stage}"})
        console.print(f"[bold]{stage}[/]: {named.pipeline_name}")
        outcome = run_locally(named, Locations.resolve(named, root, data_dir))
        if outcome is None or outcome.pushed_to is None:
            console.print(f"[bold yellow]not pushed[/]: the {stage} model was not good enough, so nothing is combined")
            return None
        versions[stage] = outcome.pushed_to
    console.print(f"[bold]both stages[/]: {config.name}")
    return run_combination(versions[RETRIEVAL], versions[RANKING], config.model, config.name, root, data_dir)


def run_combination(
    retrieval: Path, ranking: Path, options: TwoStageOptions, name: str, root: Path, data_dir: Path | None
) -> RunOutcome:
    """Combines two pushed versions, as a run of its own.

    Args:
        retrieval: A pushed version of a retrieval model.
        ranking: A pushed version of a ranking model.
        options: How they become one.
        name: Of the whole; versions lie in `ROOT/serving/NAME`.
        root: As for `run_two_stage`.
        data_dir: As for `run_two_stage`.

    Raises:
        ConfigError: The models do not fit together.
        DataError: The ranking model was trained on rows that judge the whole, or the data is not there.
        ModelError: One of the directories holds no pushed version, or its run cannot be found.
    """
    root, run_id = usable_root(root), new_run_id()
    require_writable(root, "--root")
    run_dir, serving = root / "runs" / run_id, root / "serving" / name
    with (
        occupied(root, run_id),
        output_to(run_dir / "log.txt") as console,
        ComponentProgress(console) as progress,
    ):
        begun = time.monotonic()
        progress.started(COMPONENT)
        try:
            identity = _identity(retrieval, ranking, options)
            summary = _earlier(root, identity, serving)
            cached = summary is not None
            if summary is None:
                # Imports TensorFlow.
                from pipeline.two_stage.combine import Stages, combine

                combined = combine(Stages(retrieval, ranking, options), serving, data_dir)
                summary = combined.summary | {"blessing": _blessing(combined.judgement.is_no_worse)}
                summary |= {"combination": identity}
                summary |= {"pushed_to": str(combined.pushed_to)} if combined.pushed_to else {}
        except Exception as error:
            raise user_facing_error(error, progress.current, run_dir / "log.txt") from error
        seconds = time.monotonic() - begun
        progress.finished(COMPONENT, seconds, cached)
        summary |= {
            "components": [{"component": COMPONENT, "seconds": round(seconds, 2), "cached": cached}],
            "log": str(run_dir / "log.txt"),
        }
        write_summary(run_dir, summary)
    print_report(summary)
    _print_difference(summary[TWO_STAGE])
    return RunOutcome(summary, Path(summary["pushed_to"]) if "pushed_to" in summary else None)


def _check_data(config: TwoStageConfig, versions: Mapping[str, Path]) -> None:
    """Compares split and histories of a version with those of the stage that is to be trained."""
    data = {
        stage: each.data if isinstance(each, PipelineConfig) else data_config(read_summary(versions[stage]))
        for stage, each in config.stages.items()
    }
    check_split_alike(data[RETRIEVAL], data[RANKING])
    check_same_history(data[RETRIEVAL].described(), data[RANKING].described())


def _version(name: str, root: Path, stage: str) -> Path:
    """The pushed version that a path or the name of a run means."""
    if Path(name).is_dir():
        version = Path(name).absolute()
    else:
        try:
            run = choose(find_runs(root), name)
        except ConfigError as error:
            raise ConfigError(f"model.{stage}: no pushed version lies in {name}, and of runs: {error}") from None
        if "pushed_to" not in run.result:
            raise ConfigError(f"model.{stage}: run {run.id} pushed no model ({run.reason})")
        version = Path(run.result["pushed_to"])
    try:
        read_summary(version)
    except ModelError as error:
        raise ConfigError(f"model.{stage}: {error}") from None
    return version


def _identity(retrieval: Path, ranking: Path, options: TwoStageOptions) -> str:
    """Differs once another model, another option or other code combines."""
    parts = [
        *(str(version.absolute()) for version in (retrieval, ranking)),
        options.model_dump_json(include=set(TwoStageOptions.model_fields)),
        source_hash("pipeline.two_stage.combine"),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _earlier(root: Path, identity: str, serving: Path) -> dict[str, Any] | None:
    """The summary of the last run that combined the same; None if its model is not the one that is served."""
    for run in reversed(find_runs(root)):
        if run.summary and run.summary.get("combination") == identity:
            pushed_to = run.summary.get("pushed_to")
            newest = latest_version(serving)
            if pushed_to is None or (newest and str(newest) == pushed_to and (newest / SUMMARY_FILE_NAME).is_file()):
                return run.summary
            return None
    return None


def _blessing(is_no_worse: bool) -> dict[str, Any]:
    reason = "ranking does not make the lists worse" if is_no_worse else "ranking makes the lists worse"
    return {"blessed": is_no_worse, "has_baseline": False, "push": is_no_worse, "reason": reason}


def _print_difference(judged: dict[str, Any]) -> None:
    low, high = judged["difference"]
    print(
        f"nDCG@{judged['k']} over {judged['num_queries']} queries: both stages {judged['whole']:.4f}, retrieval alone "
        f"{judged['retrieval_ndcg']:.4f}, difference from {low:+.4f} to {high:+.4f} (95%)"
    )
