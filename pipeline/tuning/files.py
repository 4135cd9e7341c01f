"""All files in which a search leaves its result."""

from collections.abc import Mapping
from pathlib import Path

from components.run_report.render import render
from pipeline.tuning.page import page_of
from pipeline.tuning.report import (
    EXPERIMENT,
    PAGE,
    RESULT,
    TRIALS,
    Result,
    write_experiment,
    write_result,
    write_text,
    write_trials,
)


def write_files(result: Result, directory: Path, test: Mapping[str, float | None] | None = None) -> None:
    """Writes the table of trials, the page, the figures and, if a trial finished, the best experiment.

    Args:
        result: Of the search.
        directory: Of the search.
        test: Metrics of the best experiment on the test split, by name; None if it was not read.
    """
    write_trials(result, directory / TRIALS)
    write_result(result, test, directory / RESULT)
    write_text(directory / PAGE, render(page_of(result, test)))
    if result.best is not None:
        write_experiment(result, result.best, directory / EXPERIMENT)
