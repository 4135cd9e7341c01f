"""Calibration and ranking of predicted click probabilities."""

import numpy as np

from components.evaluation import row_files
from components.evaluation.click_metrics import exact_auc
from components.run_report import charts
from components.run_report.artifacts import Goal, RunArtifacts
from components.run_report.page import Chart, Section
from components.run_report.sections.calibration import GROUPS_NOTE, calibration

_POINTS = 150


def section(run: RunArtifacts) -> Section | None:
    """Calibration, ROC and precision-recall curves, of the model and of a logistic regression."""
    blocks = [chart for goal in run.goals_of("click") for chart in _charts(goal)]
    return Section(id="clicks", title="Calibration and ranking", blocks=tuple(blocks)) if blocks else None


def _charts(goal: Goal) -> tuple[Chart, ...]:
    labels, weights = goal.rows.column(row_files.LABEL).astype(float), goal.rows.weights
    scores = {"model": goal.rows.column(row_files.PREDICTION).astype(float)}
    if not goal.rows.table[row_files.LOGISTIC].null_count:
        scores["logistic regression"] = goal.rows.column(row_files.LOGISTIC).astype(float)
    curves = {name: _curves(labels, of_model, weights) for name, of_model in scores.items()}
    share = float(np.average(labels, weights=weights))
    top = max(float(np.quantile(of_model, 0.999)) for of_model in scores.values())
    edges = np.linspace(0, top, 31)
    return (
        charts.lines(
            goal.titled("calibration"),
            {name: calibration(labels, of_model, weights) for name, of_model in scores.items()},
            "predicted probability",
            "share of clicks",
            diagonal=True,
            points=True,
            note=GROUPS_NOTE,
        ),
        charts.histogram(
            goal.titled("predicted probabilities"),
            {
                name: (edges, np.histogram(np.clip(of_model, 0, top), edges)[0] / len(labels))
                for name, of_model in scores.items()
            },
            "predicted probability",
        ),
        charts.lines(
            goal.titled("ROC"),
            {
                f"{name}, AUC {exact_auc(labels, scores[name], weights):.4f}": (x, y)
                for name, (x, y, _) in curves.items()
            },
            "share of other rows above the threshold",
            "share of clicks above it",
            diagonal=True,
        ),
        charts.lines(
            goal.titled("precision and recall"),
            {name: (recall, precision) for name, (_, recall, precision) in curves.items()},
            "recall",
            "precision",
            zero=True,
            note=f"{share:.1%} of the test rows are clicks; a constant prediction has that precision.",
        ),
    )


def _curves(
    labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of other rows and of clicks above each threshold, and the precision there."""
    order = np.argsort(-predictions, kind="stable")
    clicks, weight = np.cumsum((weights * labels)[order]), np.cumsum(weights[order])
    # Only where the prediction changes: rows of equal predictions are above a threshold together.
    ends = np.flatnonzero(np.diff(predictions[order], append=-np.inf))
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, _POINTS).round().astype(int))]
    above, hits = weight[ends], clicks[ends]
    shares = (
        np.divide(part, whole, out=np.zeros(len(ends)), where=whole > 0)
        for part, whole in (
            (above - hits, np.full(len(ends), weight[-1] - clicks[-1])),
            (hits, np.full(len(ends), clicks[-1])),
            (hits, above),
        )
    )
    others, found, precision = shares
    return others, found, precision
