"""Converts anomalies to rows of a readable table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tensorflow_metadata.proto.v0 import anomalies_pb2

FailOn = Literal["warning", "error", "never"]

_STOPPING = {"warning": ("WARNING", "ERROR"), "error": ("ERROR",), "never": ()}


@dataclass(frozen=True)
class Finding:
    """One anomaly of one feature in one split."""

    split: str
    feature: str
    severity: str
    what: str
    description: str


def findings(anomalies: Mapping[str, anomalies_pb2.Anomalies]) -> list[Finding]:
    """All anomalies, sorted by split and feature.

    Args:
        anomalies: TFDV's anomalies by split.
    """
    rows = []
    for split, of_split in sorted(anomalies.items()):
        for feature, info in sorted(of_split.anomaly_info.items()):
            rows += [_finding(split, feature, info.severity, reason) for reason in info.reason]
        of_dataset = of_split.dataset_anomaly_info
        rows += [_finding(split, "(whole split)", of_dataset.severity, reason) for reason in of_dataset.reason]
    return rows


def stopping(rows: list[Finding], fail_on: FailOn) -> list[Finding]:
    """The findings that are severe enough to stop the run."""
    return [row for row in rows if row.severity in _STOPPING[fail_on]]


def as_table(rows: list[Finding]) -> str:
    """Formats findings as an aligned table: split, feature, severity, kind, and what was found and expected."""
    cells = [("split", "feature", "severity", "what", "found and expected")]
    cells += [(row.split, row.feature, row.severity, row.what, row.description) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _finding(split: str, feature: str, severity: int, reason: anomalies_pb2.AnomalyInfo.Reason) -> Finding:
    name = anomalies_pb2.AnomalyInfo.Severity.Name(severity)
    return Finding(split, feature, name, reason.short_description, reason.description)
