"""How predicted ratings are wrong."""

import numpy as np

from components.evaluation import row_files
from components.run_report import charts
from components.run_report.artifacts import Goal, RunArtifacts
from components.run_report.page import Chart, Section
from components.run_report.sections.calibration import GROUPS_NOTE, calibration

_BINS = 40
_MOST_LEVELS = 20
_FEW = 12


def section(run: RunArtifacts) -> Section | None:
    """Residuals and predictions, of the model and of the naive baseline."""
    blocks = [chart for goal in run.goals_of("rating") for chart in _charts(goal)]
    return Section(id="ratings", title="Residuals", blocks=tuple(blocks)) if blocks else None


def _charts(goal: Goal) -> tuple[Chart, ...]:
    labels = goal.rows.column(row_files.LABEL).astype(float)
    predictions = {
        "model": goal.rows.column(row_files.PREDICTION).astype(float),
        "naive baseline": goal.rows.column(row_files.NAIVE).astype(float),
    }
    weights = goal.rows.weights
    residuals = {name: of_model - labels for name, of_model in predictions.items()}
    low, high = np.quantile(np.concatenate([*residuals.values()]), [0.001, 0.999])
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    shares = {name: (edges, _shares(of_model, edges)) for name, of_model in residuals.items()}
    groups = _groups(labels)
    return (
        charts.lines(
            goal.titled("calibration"),
            {name: calibration(labels, of_model, weights) for name, of_model in predictions.items()},
            "mean prediction",
            "mean label",
            diagonal=True,
            points=True,
            note=GROUPS_NOTE,
        ),
        charts.histogram(goal.titled("prediction minus label"), shares, "residual"),
        charts.lines(
            goal.titled("mean residual by label"),
            {
                name: ([label for label, _ in groups], [float(of_model[rows].mean()) for _, rows in groups])
                for name, of_model in residuals.items()
            },
            "label",
            "mean residual",
            points=True,
            note="Predictions shrink towards the mean: low ratings are predicted too high, high ones too low.",
        ),
        charts.lines(
            goal.titled("root mean squared error by label"),
            {
                name: (
                    [label for label, _ in groups],
                    [float(np.sqrt((of_model[rows] ** 2).mean())) for _, rows in groups],
                )
                for name, of_model in residuals.items()
            },
            "label",
            "RMSE",
            zero=True,
            points=True,
        ),
        _levels(goal.titled("labels and predictions"), labels, predictions["model"]),
    )


def _levels(title: str, labels: np.ndarray, predictions: np.ndarray) -> Chart:
    """Distributions of labels and of predictions, which are counted for the nearest label where there are few."""
    levels = np.unique(labels)
    if len(levels) > _MOST_LEVELS:
        edges = np.linspace(levels[0], levels[-1], _BINS // 2 + 1)
        return charts.histogram(
            title, {"labels": (edges, _shares(labels, edges)), "model": (edges, _shares(predictions, edges))}, "rating"
        )
    places = np.searchsorted((levels[1:] + levels[:-1]) / 2, predictions)
    shares = {
        "labels": [float((labels == level).mean()) for level in levels],
        "model, rounded to a label": (np.bincount(places, minlength=len(levels)) / len(places)).tolist(),
    }
    names = [f"{level:g}" for level in levels]
    series = {name: dict(zip(names, of_kind, strict=True)) for name, of_kind in shares.items()}
    return charts.bars(title, series, "rating", "share of test rows", percent=True)


def _groups(labels: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Rows by label, or by twelve equal groups of labels where there are many: the mean label, and which rows."""
    levels = np.unique(labels)
    if len(levels) <= _MOST_LEVELS:
        return [(float(level), labels == level) for level in levels]
    places = np.searchsorted(np.quantile(labels, np.linspace(0, 1, _FEW + 1))[1:-1], labels, side="right")
    return [(float(labels[places == place].mean()), places == place) for place in np.unique(places)]


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
