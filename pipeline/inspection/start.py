"""The command `recspan data inspect`."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.inspection.inspect import inspect_files, refuse_to_replace, write_experiment
from pipeline.inspection.proposal import propose
from pipeline.inspection.report import as_json, print_findings
from trainer_module.errors import DataError


def inspect_data(patterns: Sequence[str], output: Path | None, replace: bool, json: bool) -> None:
    """Inspects files, prints the findings and writes the proposed experiment.

    Args:
        patterns: See `inspect_files`.
        output: Experiment file to write; None writes none.
        replace: Whether an existing file is replaced.
        json: Whether findings are printed as JSON.

    Raises:
        DataError: A file cannot be read, or an experiment is to be written and no task fits.
        ConfigError: `output` exists, or cannot be written.
    """
    console = Console(soft_wrap=not Console().is_terminal, highlight=False)
    if output and not replace:
        refuse_to_replace(output)
    findings = inspect_files(patterns)
    experiment, problem = None, None
    try:
        experiment = propose(findings)
    except DataError as error:
        if output:
            raise
        problem = error
    if json:
        print(as_json(findings, experiment))
    else:
        print_findings(findings, console)
    if output and experiment:
        write_experiment(experiment, output)
    if json:
        return
    if output:
        console.print(f"wrote {output}; run it with `recspan pipeline run --config {output}`", markup=False)
    elif problem:
        console.print(f"no experiment to propose: {problem}", markup=False)
    else:
        console.print("\nproposed experiment; `-o experiment.yaml` writes it:\n")
        console.print(experiment, markup=False, soft_wrap=True)
