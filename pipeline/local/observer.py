"""Who is told what a run is doing."""

from typing import Protocol


class Observer(Protocol):
    """Is told what runs."""

    def started(self, component: str) -> None:
        """Called before a node is launched."""

    def finished(self, component: str, seconds: float, cached: bool) -> None:
        """Called when a node has succeeded."""
