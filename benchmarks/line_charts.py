"""Charts of what was measured against the number of rows, as an SVG file for the documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import vl_convert

_WIDTH, _HEIGHT = 320, 220


@dataclass(frozen=True)
class LineChart:
    """Lines over a logarithmic axis.

    Attributes:
        title: Above the chart.
        across: What the horizontal axis counts.
        lines: Points (across, up) of each line, by name.
        logarithmic: Whether the vertical axis is logarithmic too.
    """

    title: str
    across: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    logarithmic: bool = False


def as_svg(charts: Sequence[LineChart]) -> str:
    """The charts side by side, with the value beside each point."""
    return vl_convert.vegalite_to_svg({"background": "white", "hconcat": [_specification(chart) for chart in charts]})


def _specification(chart: LineChart) -> dict:
    points = [{"line": name, "x": x, "y": y} for name, line in chart.lines.items() for x, y in line]
    numbers = sorted({point["x"] for point in points})
    across = {"type": "log", "nice": False, "padding": 24}
    up = {"type": "log"} if chart.logarithmic else {"zero": True}
    axis = {"values": numbers, "format": "~s", "title": chart.across}
    return {
        "title": chart.title,
        "width": _WIDTH,
        "height": _HEIGHT,
        "data": {"values": points},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "scale": across, "axis": axis},
            "y": {"field": "y", "type": "quantitative", "scale": up, "title": None},
            "color": {"field": "line", "type": "nominal", "sort": None, "title": None},
        },
        "layer": [
            {"mark": {"type": "line", "point": True}},
            {
                "mark": {"type": "text", "dy": -9, "fontSize": 10},
                "encoding": {"text": {"field": "y", "type": "quantitative", "format": ".3~g"}},
            },
        ],
    }
