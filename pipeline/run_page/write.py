"""Writes the page of a local run."""

import os
from pathlib import Path
from typing import Any

from components.run_report.layout import REPORT_FILE
from components.run_report.page import Page
from components.run_report.render import render
from pipeline.run_page.flow import flow_of


def write_component_page(summary: dict[str, Any], run_dir: Path) -> None:
    """Completes the page of RunReport.

    Args:
        summary: Of the run, with the path of the component's page; gets that of the run's.
        run_dir: The run's directory.
    """
    write_page(Page.model_validate_json(Path(summary["page"]).read_text(encoding="utf-8")), summary, run_dir)


def write_page(page: Page, summary: dict[str, Any], run_dir: Path) -> None:
    """Writes `report.html` into a run's directory and its path into the summary.

    Args:
        page: Without the data flow.
        summary: Of the run, or what is known of a stopped one, with its components.
        run_dir: The run's directory.
    """
    page = page.with_section(flow_of(summary), "training", "data", "drift", "absent")
    page = page.model_copy(update={"subtitle": f"run {run_dir.name} · {page.subtitle}"})
    path = run_dir / REPORT_FILE
    partial = path.with_name(f"{REPORT_FILE}.tmp")
    partial.write_text(render(page), encoding="utf-8")
    os.replace(partial, path)
    summary["report"] = str(path)
