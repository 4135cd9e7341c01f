"""Calls what writes the page of a run that a component stops.

It is imported by name, at the time of the call: its sources are no part of the cache keys of the components that may
stop a run, so that another page does not push a model again.
"""

import importlib
from collections.abc import Mapping

from tfx.types import Artifact

from components.run_report.stop import Stop

_WRITER = "components.run_report.refusal"


def with_page(settings: str, output: str, stop: Stop, artifacts: Mapping[str, Artifact | None]) -> str:
    """The message of a refusal, with the path of the page that was written where a service runs the component.

    Args:
        settings: `components.run_report.refusal.PageSettings` as JSON; empty where the runner writes the page.
        output: Directory of an output of the component.
        stop: Why the run stops.
        artifacts: What the run has made, by the names of `components.run_report.artifacts.Uris`.
    """
    if not settings:
        return stop.message
    path = importlib.import_module(_WRITER).write_refusal(settings, output, stop, artifacts)
    return f"{stop.message}\nReport: {path}"
