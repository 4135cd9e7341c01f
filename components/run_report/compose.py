"""Which sections the page has, and in which order."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Column, Page, Section, Table
from components.run_report.protocol import SectionBuilder
from components.run_report.sections import (
    activity,
    clicks,
    columns,
    data,
    drift,
    embeddings,
    flow,
    importance,
    lineage,
    lists,
    metrics,
    model_card,
    ratings,
    samples,
    training,
    verdict,
)
from components.run_report.stop import Stop

Need: TypeAlias = Literal["examples", "statistics", "training", "model", "evaluation"]

_REASONS: dict[Need, str] = {
    "examples": "no rows were taken in",
    "statistics": "no statistics were computed",
    "training": "no model was trained",
    "model": "no model was made that could be judged",
    "evaluation": "no model was judged",
}


@dataclass(frozen=True)
class Part:
    """A section, and what a run must have made for it.

    Attributes:
        title: Its name on the page of a run that has not made it.
        build: Makes it.
        needs: What the run must have made.
        tasks: Tasks of the datasets that have such a section; empty for all.
    """

    title: str
    build: SectionBuilder
    needs: tuple[Need, ...] = ()
    tasks: tuple[str, ...] = ()


PARTS: tuple[Part, ...] = (
    Part("Verdict", verdict.section),
    Part("Metrics", metrics.section, ("training", "evaluation")),
    Part("Residuals", ratings.section, ("training", "evaluation"), ("rating",)),
    Part("Calibration and ranking", clicks.section, ("training", "evaluation"), ("click",)),
    Part("Lists", lists.section, ("training", "evaluation"), ("retrieval",)),
    Part("Permutation importance", importance.section, ("training", "evaluation")),
    Part("Sample recommendations", samples.section, ("training", "evaluation"), ("retrieval",)),
    Part("Data flow", flow.section),
    Part("Training", training.section, ("training",)),
    Part("Embeddings", embeddings.section, ("training", "model")),
    Part("Data", data.section, ("examples",)),
    Part("Drift", drift.section),
    Part("Columns", columns.section, ("examples", "statistics")),
    Part("Activity of users and items", activity.section, ("examples",)),
    Part("Model card", model_card.section),
    Part("Lineage", lineage.section),
)


def compose(run: RunArtifacts, title: str, added: Sequence[tuple[Section, str]] = ()) -> Page:
    """The page of a run.

    Args:
        run: The run.
        title: Its name.
        added: Sections that others have made, each with the id of the section that it precedes.
    """
    made = _made(run)
    there = [part for part in PARTS if made.issuperset(part.needs)]
    sections = [section for part in there if (section := part.build(run)) is not None]
    if run.stop:
        missing = [
            part for part in PARTS if part not in there and run.dataset.task in (part.tasks or (run.dataset.task,))
        ]
        if missing:
            # Before the lineage, which is the last one.
            sections.insert(-1, _absent(run.stop, missing, made))
    config = run.config
    facts = (
        run.dataset.task,
        f"{config['model']['type'].replace('_', ' ')} model",
        f"dataset {run.dataset.name}",
        f"split by {config['data']['split']['by']}",
    )
    page = Page(title=title, subtitle=" · ".join(facts), sections=tuple(sections))
    for section, before in added:
        page = page.with_section(section, before)
    return page


def _made(run: RunArtifacts) -> set[Need]:
    """What the run has made."""
    made: dict[Need, bool] = {
        "examples": bool(run.uris.examples),
        "statistics": bool(run.uris.statistics),
        "training": bool(run.uris.model_run) and "training" in run.summary,
        "model": bool(run.uris.model),
        "evaluation": bool(run.uris.evaluation) and "evaluation" in run.summary,
    }
    return {need for need, is_there in made.items() if is_there}


def _absent(stop: Stop, missing: Sequence[Part], made: Collection[Need]) -> Section:
    """Says why sections are not on the page of a stopped run."""
    rows = []
    for part in missing:
        first = next(need for need in part.needs if need not in made)
        rows.append((part.title, f"{_REASONS[first]}: the run stopped in {stop.component}"))
    heads = (Column(name="section"), Column(name="why it is not here"))
    return Section(id="absent", title="Not on this page", blocks=(Table(columns=heads, rows=tuple(rows)),))
