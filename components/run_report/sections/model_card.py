"""What people say about the model, as far as the experiment file does."""

from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Facts, Section

_TITLES = {
    "intended_use": "intended use",
    "out_of_scope": "out of scope",
    "data": "data",
    "limits": "limits",
    "contact": "contact",
}


def section(run: RunArtifacts) -> Section | None:
    """The card; None where nothing is said."""
    facts = [(title, getattr(run.card, name)) for name, title in _TITLES.items() if getattr(run.card, name)]
    if run.dataset.license_note:
        facts.append(("terms of the data", run.dataset.license_note))
    return Section(id="card", title="Model card", blocks=(Facts(facts=tuple(facts)),)) if facts else None
