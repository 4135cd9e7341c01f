"""Which sections the page has, and in which order."""

from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Page
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

SECTIONS: tuple[SectionBuilder, ...] = (
    verdict.section,
    metrics.section,
    ratings.section,
    clicks.section,
    lists.section,
    importance.section,
    samples.section,
    flow.section,
    training.section,
    embeddings.section,
    data.section,
    drift.section,
    columns.section,
    activity.section,
    model_card.section,
    lineage.section,
)


def compose(run: RunArtifacts, title: str) -> Page:
    """The page of a run.

    Args:
        run: The run.
        title: Its name.
    """
    sections = [section for build in SECTIONS if (section := build(run)) is not None]
    model = run.config["model"]["type"].replace("_", " ")
    facts = (
        run.dataset.task,
        f"{model} model",
        f"dataset {run.dataset.name}",
        f"split by {run.config['data']['split']['by']}",
    )
    subtitle = " · ".join(facts)
    return Page(title=title, subtitle=subtitle, sections=tuple(sections))
