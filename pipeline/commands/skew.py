"""Logged requests beside training data and the pushed model."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import AsJson, Root
from pipeline.exit_codes import SKEWED, UNCHECKED


def skew(
    logs: Annotated[
        list[Path], typer.Option(help="Log of a model server: JSON lines or TFRecords, plain or .gz; may be repeated.")
    ],
    model: Annotated[Path | None, typer.Option(help="A pushed version; the last one if not given.")] = None,
    root: Root = Path("runs"),
    retrieval: Annotated[bool, typer.Option("--retrieval", help="Take the last retrieval model.")] = False,
    statistics: Annotated[
        Path | None,
        typer.Option(help="FeatureStats.pb of the training split; that of the version's own run if not given."),
    ] = None,
    ignored: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="COLUMN", help="Is not compared with the training split; may be repeated."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Difference of answers that counts as none, relative above 1.")
    ] = 1e-4,
    max_differing: Annotated[float, typer.Option(min=0, max=1, help="Share of rows with another answer.")] = 0.01,
    max_l_infinity: Annotated[float, typer.Option(min=0, max=1, help="Difference of a token's share.")] = 0.1,
    max_jensen_shannon: Annotated[float, typer.Option(min=0, max=1, help="Divergence of numbers, in bits.")] = 0.1,
    max_missing: Annotated[float, typer.Option(min=0, max=1, help="Difference of the shares without a value.")] = 0.05,
    max_out_of_vocabulary: Annotated[float, typer.Option(min=0, max=1, help="Share of unknown tokens.")] = 0.1,
    max_out_of_range: Annotated[
        float, typer.Option(min=0, max=1, help="Share of numbers outside the range of the training split.")
    ] = 0.01,
    max_bad_lines: Annotated[int, typer.Option(min=0, help="Lines that may be no calls.")] = 0,
    columns_only: Annotated[
        bool, typer.Option("--columns-only", help="Compare columns alone, as of a log without answers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay logged requests; exits with 4 if they or their answers differ, with 5 if nothing could be compared."""
    from pipeline.ask.versions import last_pushed
    from pipeline.console import output_to

    version = model or last_pushed(root, retrieval)
    with output_to(Path(os.devnull)) as console:
        # Imports TensorFlow.
        from pipeline.lineage import statistics_of
        from pipeline.skew.report import Thresholds, print_report
        from pipeline.skew.skew import find_skew

        thresholds = Thresholds(
            differing=max_differing,
            l_infinity=max_l_infinity,
            jensen_shannon=max_jensen_shannon,
            missing=max_missing,
            out_of_vocabulary=max_out_of_vocabulary,
            out_of_range=max_out_of_range,
        )
        report = find_skew(
            version,
            logs,
            statistics or statistics_of(version),
            thresholds,
            tolerance,
            ignored or (),
            max_bad_lines,
            columns_only,
        )
        if as_json:
            console.print_json(json.dumps(report.as_json()))
        else:
            print_report(report, console)
    if report.skewed:
        raise typer.Exit(SKEWED)
    if report.unchecked:
        raise typer.Exit(UNCHECKED)
