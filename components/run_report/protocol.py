"""What a section is made by."""

from typing import Protocol

from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Section


class SectionBuilder(Protocol):
    """Makes a section of the page from a run."""

    def __call__(self, run: RunArtifacts) -> Section | None:
        """The section; None where the run has no data for it."""
        ...
