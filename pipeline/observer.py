"""The interface through which a run reports its progress."""

from typing import Protocol


class Observer(Protocol):
    """Receives a call when a component starts and when it ends. Several may run at once, each in a thread."""

    def started(self, component: str) -> None:
        """Called before a component is launched."""

    def finished(self, component: str, seconds: float, cached: bool) -> None:
        """Called after a component has succeeded."""

    def failed(self, component: str) -> None:
        """Called when a component has failed, and ends the run."""
