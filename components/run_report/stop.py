"""What stopped a run before its end."""

from dataclasses import dataclass

from components.drift.report import DriftReport
from components.example_validator.anomalies import Finding


@dataclass(frozen=True)
class Stop:
    """Why a run did not come to its end.

    Attributes:
        component: That stopped it.
        verdict: What people call that, such as `stopped by drift`.
        message: The whole error.
        drift: The comparison that the data did not pass.
        findings: Anomalies that the data did not pass with.
    """

    component: str
    verdict: str
    message: str
    drift: DriftReport | None = None
    findings: tuple[Finding, ...] = ()
