"""Draws charts: Vega-Lite specifications, rendered to SVG whose colours are variables of the page.

A page of SVG needs no JavaScript library, no network, and prints. Colours of the specifications stand for variables, so
that one drawing serves the light and the dark theme.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.run_report.page import Chart
from components.run_report.vega import to_svg

INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04", "#0a0a05", "#0a0a06")
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(SERIES, 1)
}
_WIDTH, _HEIGHT = 420, 220
_MOST_POINTS = 160
# From here on, axes are labelled in thousands and millions.
_THOUSANDS = 10_000
# The first name is what widths are measured with; the page has it, or one as wide, on most machines.
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_CONFIG = {
    "background": None,
    "padding": {"left": 16, "right": 8, "top": 4, "bottom": 4},
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": 500,
        "titlePadding": 12,
        "labelLimit": 240,
    },
    "axisX": {"grid": False},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "title": None,
        "orient": "top",
        "offset": 4,
        "columnPadding": 24,
    },
    "range": {"category": list(SERIES)},
    "line": {"strokeWidth": 2, "color": SERIES[0]},
    "bar": {"color": SERIES[0]},
    "point": {"color": SERIES[0]},
    "rule": {"color": SERIES[0]},
}
# What a screen reader would read out mark by mark; the chart as a whole has a description.
_ROLES = re.compile(r' (?:role|aria-roledescription|aria-hidden)="[^"]*"')
# Labels of what is no single value.
_NOT_OF_VALUES = re.compile(r' aria-roledescription="(?:axis|legend|line mark)" aria-label="[^"]*"')
_COLOR = re.compile(r"#0[0-9a]0[0-9a]0[0-9]")


def draw(title: str, specification: Mapping[str, Any], description: str, note: str = "", wide: bool = False) -> Chart:
    """Renders a specification.

    Args:
        title: Above the chart.
        specification: In Vega-Lite, in the colours of this module.
        description: What the chart shows, for people who do not see it.
        note: Below the chart.
        wide: Whether it takes the whole width.
    """
    whole = {"width": _WIDTH * 2 if wide else _WIDTH, "height": _HEIGHT, "config": _CONFIG, **specification}
    svg = to_svg(whole)
    svg = _NOT_OF_VALUES.sub("", svg)
    svg = _COLOR.sub(lambda match: _VARIABLES.get(match[0], match[0]), _ROLES.sub("", svg))
    # Marks keep their values, for the page to show under the pointer.
    svg = svg.replace(' aria-label="', ' data-tip="')
    return Chart(title=title, svg=svg, description=description, note=note, wide=wide)


def lines(
    title: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    zero: bool = False,
    diagonal: bool = False,
    points: bool = False,
    note: str = "",
) -> Chart:
    """Draws one line per series.

    Args:
        title: Above the chart.
        series: Places and values by name; long ones are thinned out evenly.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is logarithmic.
        zero: Whether the vertical axis begins at 0.
        diagonal: Whether to draw where both are equal, from 0 to 1.
        points: Whether to mark the values.
        note: Below the chart.
    """
    values = [
        {"x": float(place), "y": float(value), "series": name}
        for name, (places, of_series) in series.items()
        for place, value in _thinned(list(zip(places, of_series, strict=True)))
        if np.isfinite(value)
    ]
    encoding: dict[str, Any] = {
        "x": _quantitative("x", x, log_x, False),
        "y": _quantitative("y", y, log_y, zero, short=max((each["y"] for each in values), default=0) >= _THOUSANDS),
    }
    if len(series) > 1:
        encoding["color"] = _color(list(series))
    # Marks that show their values under the pointer.
    mark = {"type": "line", "point": {"opacity": 1 if points else 0, "size": 40}}
    layers = [{"data": {"values": values}, "mark": mark, "encoding": encoding}]
    if diagonal:
        layers.insert(
            0,
            {
                "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
                "mark": {"type": "line", "color": MUTED, "strokeDash": [4, 4], "strokeWidth": 1},
                "encoding": {"x": encoding["x"], "y": encoding["y"]},
            },
        )
    what = " and ".join(series) if len(series) < 4 else f"{len(series)} series"
    return draw(title, {"layer": layers}, f"{title}: lines of {what}; {y} by {x}.", note)


def bars(
    title: str, series: Mapping[str, Mapping[str, float]], x: str, y: str, percent: bool = False, note: str = ""
) -> Chart:
    """Draws groups of bars.

    Args:
        title: Above the chart.
        series: Values by label, by name of the series; labels keep the order of the first series.
        x: Title of the axis of labels.
        y: Title of the axis of values.
        percent: Whether values are shares.
        note: Below the chart.
    """
    labels = list(dict.fromkeys(label for of_series in series.values() for label in of_series))
    values = [
        {"label": label, "y": value, "series": name}
        for name, of_series in series.items()
        for label, value in of_series.items()
        if value is not None and np.isfinite(value)
    ]
    encoding: dict[str, Any] = {
        "x": {
            "field": "label",
            "type": "nominal",
            "sort": labels,
            "title": x,
            "axis": {"labelAngle": 0 if sum(map(len, labels)) < 50 else -40, "labelLimit": 90},
        },
        "y": _quantitative("y", y, False, True) | ({"axis": {"format": ".0%", "title": y}} if percent else {}),
    }
    if len(series) > 1:
        encoding |= {"xOffset": {"field": "series", "sort": list(series)}, "color": _color(list(series))}
    specification = {"data": {"values": values}, "mark": {"type": "bar", "cornerRadiusEnd": 2}, "encoding": encoding}
    return draw(title, specification, f"{title}: bars of {' and '.join(series)}; {y} by {x}.", note)


def histogram(
    title: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, note: str = ""
) -> Chart:
    """Draws the distributions of several samples as steps.

    Args:
        title: Above the chart.
        series: Edges `[n + 1]` and shares `[n]` by name.
        x: Title of the horizontal axis.
        note: Below the chart.
    """
    values = []
    for name, (edges, shares) in series.items():
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
            values += [{"x": float(low), "y": float(share), "series": name, "to": float(high)}]
        values += [{"x": float(edges[-1]), "y": float(shares[-1]), "series": name, "to": float(edges[-1])}]
    encoding: dict[str, Any] = {
        "x": _quantitative("x", x, False, False),
        "y": _quantitative("y", "share of rows", False, True) | {"axis": {"format": "~%", "title": "share of rows"}},
    }
    if len(series) > 1:
        encoding["color"] = _color(list(series))
    mark = {"type": "line", "interpolate": "step-after", "point": {"opacity": 0, "size": 40}}
    specification = {"data": {"values": values}, "mark": mark, "encoding": encoding}
    return draw(title, specification, f"{title}: distribution of {x} in {' and '.join(series)}.", note)


def scatter(
    title: str, points: Sequence[tuple[float, float, str]], x: str, y: str, log_x: bool = False, note: str = ""
) -> Chart:
    """Draws points with names.

    Args:
        title: Above the chart.
        points: Place, value and name.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        log_x: Whether the horizontal axis is logarithmic.
        note: Below the chart.
    """
    values = [{"x": float(place), "y": float(value), "name": name} for place, value, name in points]
    encoding = {
        "x": _quantitative("x", x, log_x, False),
        "y": _quantitative("y", y, False, False),
        "description": {"field": "name", "type": "nominal"},
    }
    mark = {"type": "circle", "opacity": 0.45, "size": 26, "color": SERIES[0]}
    specification = {"data": {"values": values}, "mark": mark, "encoding": encoding}
    return draw(title, specification, f"{title}: {len(points)} points; {y} by {x}.", note)


def points(
    title: str,
    series: Mapping[str, Sequence[tuple[float | str, float, str]]],
    x: str,
    y: str,
    log_x: bool = False,
    order: Sequence[str] | None = None,
    note: str = "",
) -> Chart:
    """Draws points with names, in a colour for each series.

    Args:
        title: Above the chart.
        series: Place, value and name of each point, by name of the series.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        log_x: Whether the horizontal axis is logarithmic.
        order: Places that are texts, in their order; None if places are numbers.
        note: Below the chart.
    """
    values = [
        {"x": place, "y": float(value), "said": said, "series": name}
        for name, of_series in series.items()
        for place, value, said in of_series
    ]
    encoding: dict[str, Any] = {
        "x": _quantitative("x", x, log_x, False),
        "y": _quantitative("y", y, False, False),
        "description": {"field": "said", "type": "nominal"},
    }
    if log_x:
        # Not thousands and millions: 0.002 would be 2m.
        encoding["x"]["axis"] = {"format": "~g", "tickCount": 5}
    if order is not None:
        axis = {"labelAngle": 0 if sum(map(len, order)) < 50 else -40, "labelLimit": 90}
        encoding["x"] = {"field": "x", "type": "nominal", "scale": {"domain": list(order)}, "title": x, "axis": axis}
    drawn = [name for name, of_series in series.items() if of_series]
    if len(drawn) > 1:
        encoding["color"] = _color(drawn)
    mark = {"type": "point", "filled": True, "opacity": 0.7, "size": 40, "color": SERIES[0]}
    specification = {"data": {"values": values}, "mark": mark, "encoding": encoding}
    return draw(title, specification, f"{title}: {len(values)} points; {y} by {x}.", note)


def spread_bars(title: str, series: Mapping[str, Mapping[str, tuple[float, float]]], x: str, note: str = "") -> Chart:
    """Draws horizontal bars with lines for their spread, the longest on top.

    Args:
        title: Above the chart.
        series: Values and their spreads by label, by name of the series; a label is of one series.
        x: Title of the axis of values.
        note: Below the chart.
    """
    values = [
        {
            **{"label": label, "x": value, "low": value - spread, "high": value + spread, "series": name},
            "said": f"{label}: {value:.4g} ± {spread:.2g}",
        }
        for name, of_series in series.items()
        for label, (value, spread) in of_series.items()
    ]
    values.sort(key=lambda each: -each["x"])
    drawn = [name for name, of_series in series.items() if of_series]
    y = {"field": "label", "type": "nominal", "sort": [each["label"] for each in values], "title": None}
    said = {"field": "said", "type": "nominal"}
    bar: dict[str, Any] = {"y": y, "x": {"field": "x", "type": "quantitative", "title": x}, "description": said}
    if len(drawn) > 1:
        bar["color"] = _color(drawn)
    line = {
        "y": y,
        "x": {"field": "low", "type": "quantitative", "title": x},
        "x2": {"field": "high"},
        "description": said,
    }
    layers = [
        {"mark": {"type": "bar", "cornerRadiusEnd": 2, "height": {"band": 0.6}}, "encoding": bar},
        {"mark": {"type": "rule", "strokeWidth": 1.5, "color": INK}, "encoding": line},
    ]
    specification = {"data": {"values": values}, "layer": layers, "height": 20 * max(len(values), 2)}
    return draw(title, specification, f"{title}: {len(values)} bars of {' and '.join(drawn)}; {x}.", note, wide=True)


def intervals(
    title: str, rows: Sequence[tuple[str, float, float, float]], x: str, reference: float, note: str = ""
) -> Chart:
    """Draws values with intervals, the first on top.

    Args:
        title: Above the chart.
        rows: Label, value, and both ends of its interval.
        x: Title of the axis.
        reference: Where a line crosses all rows.
        note: Below the chart.
    """
    values = [{"label": label, "x": value, "low": low, "high": high} for label, value, low, high in rows]
    y = {"field": "label", "type": "nominal", "sort": [label for label, *_ in rows], "title": None}
    scale = {"scale": {"zero": False}, "type": "quantitative"}
    layers = [
        {
            "data": {"values": [{"x": reference}]},
            "mark": {"type": "rule", "color": MUTED, "strokeDash": [4, 4]},
            "encoding": {"x": {"field": "x", **scale, "title": x}},
        },
        {
            "data": {"values": values},
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {
                "y": y,
                "x": {"field": "low", **scale, "title": x},
                "x2": {"field": "high"},
            },
        },
        {
            "data": {"values": values},
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {"y": y, "x": {"field": "x", **scale, "title": x}},
        },
    ]
    specification = {"layer": layers, "height": 20 * len(rows)}
    return draw(title, specification, f"{title}: {len(rows)} values with intervals.", note, wide=True)


def _quantitative(field: str, title: str, log: bool, zero: bool, short: bool = False) -> dict[str, Any]:
    scale = {"type": "log"} if log else {"zero": zero}
    axis = {"format": "~s", "tickCount": 5} if log or short else {"tickCount": 5}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _color(names: list[str]) -> dict[str, Any]:
    return {"field": "series", "type": "nominal", "sort": names, "scale": {"domain": names}, "legend": {"title": None}}


def _thinned(points: list) -> list:
    if len(points) <= _MOST_POINTS:
        return points
    places = np.unique(np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int))
    return [points[place] for place in places]
