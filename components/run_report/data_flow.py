"""What ran: seconds, cache, memory and rows by component. Does not import TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.run_report.page import Bar, Bars, Block, Section, Tile, Tiles

ID = "flow"


@dataclass(frozen=True)
class Task:
    """A component of a run.

    Attributes:
        component: Its id.
        seconds: From the end of the last component that it waited for to its own end; None if that is not known.
        cached: Whether an earlier run's result was used.
        stopped: Whether the run ended here.
    """

    component: str
    seconds: float | None
    cached: bool = False
    stopped: bool = False


def flow(tasks: Sequence[Task], examples: Mapping[str, Any] | None, peak_memory_gb: float | None = None) -> Section:
    """The section on the run's components.

    Args:
        tasks: In the order in which they ran.
        examples: Of the summary; None where none were made.
        peak_memory_gb: Of the run's process; None where that is not known.
    """
    cached = sum(task.cached for task in tasks)
    tiles = [
        Tile(label="seconds", value=f"{sum(task.seconds or 0 for task in tasks):,.1f}", note="sum of all components"),
        Tile(label="components", value=f"{len(tasks)}", note=f"{cached} answered from the cache"),
    ]
    if examples is not None:
        rows = f"{sum(examples['rows'].values()):,}"
        tiles.append(Tile(label="rows read", value=rows, note="in all splits"))
    if peak_memory_gb is not None:
        tiles.append(Tile(label="peak memory", value=f"{peak_memory_gb:.2f} GB", note="of the run's process"))
    bars = tuple(
        Bar(label=task.component, value=task.seconds or 0.0, text=_text(task), muted=task.cached) for task in tasks
    )
    blocks: tuple[Block, ...] = (Tiles(tiles=tuple(tiles)), Bars(title="seconds by component", bars=bars))
    return Section(id=ID, title="Data flow", blocks=blocks)


def _text(task: Task) -> str:
    parts = [f"{task.seconds:.1f} s"] if task.seconds is not None else []
    parts += ["cached"] if task.cached else ["stopped the run"] if task.stopped else []
    return ", ".join(parts) or "unknown"
