"""What ran: seconds, cache, memory and rows by component."""

from collections.abc import Mapping
from typing import Any

from components.run_report.page import Bar, Bars, Block, Section, Tile, Tiles

ID = "flow"


def flow(summary: Mapping[str, Any]) -> Section:
    """The section on the run's components.

    Args:
        summary: Of the run, with its components.
    """
    rows = summary["components"]
    seconds = sum(row["seconds"] for row in rows)
    cached = [row["component"] for row in rows if row["cached"]]
    peaks = [row["peak_memory_gb"] for row in rows if "peak_memory_gb" in row]
    tiles = [
        Tile(label="seconds", value=f"{seconds:,.1f}", note="sum of all components"),
        Tile(label="components", value=f"{len(rows)}", note=f"{len(cached)} answered from the cache"),
        Tile(label="rows read", value=f"{sum(summary['examples']['rows'].values()):,}", note="in all splits"),
    ]
    if peaks:
        tiles.append(Tile(label="peak memory", value=f"{max(peaks):.2f} GB", note="of the run's process"))
    bars = tuple(
        Bar(label=row["component"], value=row["seconds"], text=_text(row), muted=row["cached"]) for row in rows
    )
    blocks: tuple[Block, ...] = (Tiles(tiles=tuple(tiles)), Bars(title="seconds by component", bars=bars))
    return Section(id=ID, title="Data flow", blocks=blocks)


def _text(row: Mapping[str, Any]) -> str:
    return f"{row['seconds']:.1f} s{', cached' if row['cached'] else ''}"
