"""Writes the page of a local run."""

import os
from pathlib import Path
from typing import Any

from components.run_report.layout import REPORT_FILE
from components.run_report.page import Page
from components.run_report.render import render
from pipeline.config import PipelineConfig
from pipeline.run_page.flow import flow
from pipeline.run_page.placement import placement


def write_page(config: PipelineConfig, summary: dict[str, Any], run_dir: Path) -> None:
    """Writes `report.html` into a run's directory and its path into the summary.

    Args:
        config: The experiment.
        summary: Of the run, with the path of the component's page.
        run_dir: The run's directory.
    """
    page = Page.model_validate_json(Path(summary["page"]).read_text(encoding="utf-8"))
    page = page.with_section(flow(summary), before="training")
    if (section := placement(config, summary["training"]["table_rows"])) is not None:
        page = page.with_section(section, before="data")
    page = page.model_copy(update={"subtitle": f"run {run_dir.name} · {page.subtitle}"})
    path = run_dir / REPORT_FILE
    partial = path.with_name(f"{REPORT_FILE}.tmp")
    partial.write_text(render(page), encoding="utf-8")
    os.replace(partial, path)
    summary["report"] = str(path)
