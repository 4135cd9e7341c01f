"""Says where to look for what a component does not know of its run. The local runner knows, and adds it itself."""

from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Section, Text


def section(run: RunArtifacts) -> Section | None:
    """One sentence; None where the runner completes the page."""
    if run.completed:
        return None
    text = (
        "Seconds, cache and memory of the components, and the placement of tables on TPUs, are not on this page: a "
        "component of the run made it, which does not see the others. The run's page in the console, and "
        "`recspan pipeline status`, show the components; `recspan plan --config` shows the placement."
    )
    return Section(id="flow", title="Data flow", blocks=(Text(text=text),))
