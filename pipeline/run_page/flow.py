"""What ran on this machine: the section of a summary's components."""

from collections.abc import Mapping
from typing import Any

from components.run_report.data_flow import Task, flow
from components.run_report.page import Section


def flow_of(summary: Mapping[str, Any]) -> Section:
    """The section on the run's components.

    Args:
        summary: Of the run, or what is known of a stopped one, with its components.
    """
    rows = summary["components"]
    tasks = [Task(row["component"], row["seconds"], row["cached"], row.get("stopped", False)) for row in rows]
    peaks = [row["peak_memory_gb"] for row in rows if "peak_memory_gb" in row]
    return flow(tasks, summary.get("examples"), max(peaks, default=None))
