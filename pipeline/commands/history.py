"""Earlier runs of this machine: `runs list`, `runs show`, `runs compare`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Root
from trainer_module.errors import ConfigError

_RunName = Annotated[str, typer.Argument(help="Any part of the run's name that no other has, or `last`.")]


def list_runs(
    root: Root = Path("runs"),
    dataset: Annotated[str | None, typer.Option(help="Only runs on this dataset.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many runs, the latest.")] = 20,
) -> None:
    """List runs with dataset, model, verdict, seconds and metrics, the latest last."""
    from rich.console import Console

    from pipeline.history.printing import print_runs
    from pipeline.history.records import find_runs

    runs = [run for run in find_runs(root.absolute()) if dataset in (None, run.dataset)]
    print_runs(runs[-limit:], Console(soft_wrap=True))


def show(
    run: _RunName = "last",
    root: Root = Path("runs"),
    open_report: Annotated[bool, typer.Option("--open", help="Also open the run's report in a browser.")] = False,
) -> None:
    """Show what a run came to, and where its report lies."""
    from rich.console import Console

    from pipeline.history.printing import print_run
    from pipeline.history.records import choose, find_runs

    chosen = choose(find_runs(root.absolute()), run)
    print_run(chosen, Console())
    if open_report:
        if chosen.report is None:
            raise ConfigError(f"run {chosen.id} has no report: {chosen.verdict}")
        import webbrowser

        webbrowser.open(chosen.report.as_uri())


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs; the others are compared with the first.")],
    root: Root = Path("runs"),
    html: Annotated[Path | None, typer.Option(help="Also write the comparison to this file, as a page.")] = None,
) -> None:
    """Compare runs: metrics, what differs in experiment and data, and whether more than chance explains it."""
    if len(runs) < 2:
        raise ConfigError("runs compare: give two or more runs; `recspan runs list` shows them")
    from rich.console import Console

    from pipeline.history.comparison import compare as compare_runs
    from pipeline.history.printing import print_comparison
    from pipeline.history.records import choose, find_runs

    known = find_runs(root.absolute())
    comparison = compare_runs([choose(known, name) for name in runs])
    print_comparison(comparison, Console())
    if html:
        from components.run_report.render import render
        from pipeline.history.comparison_page import page_of

        html.write_text(render(page_of(comparison)), encoding="utf-8")
        typer.echo(f"page: {html.absolute()}")
