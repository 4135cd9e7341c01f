"""What ran, where a component of the run makes the whole page."""

from components.run_report.artifacts import RunArtifacts
from components.run_report.data_flow import flow
from components.run_report.page import Section, Text

_NOTE = (
    "Seconds run from the end of the last component that a component waited for to its own end, with the time in which "
    "the service found a machine. They are unknown for a component before which none ended in this run, and for this "
    "report. Peak memory is not known to the run; the console shows it."
)


def section(run: RunArtifacts) -> Section | None:
    """The components before the one that writes the page; None where the runner adds them, as the local one does."""
    if not run.tasks:
        return None
    found = flow(run.tasks, run.summary.get("examples"))
    return found.model_copy(update={"blocks": (*found.blocks, Text(text=_NOTE))})
