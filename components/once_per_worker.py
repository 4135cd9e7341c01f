"""Values that are too large to be made, or held, more than once in a worker process of Apache Beam."""

from collections.abc import Callable
from typing import Generic, TypeVar

from apache_beam.utils.shared import Shared

Value = TypeVar("Value")


class OncePerWorker(Generic[Value]):
    """A value that a worker process makes when it is first asked for, and keeps as long as a step that has used it.

    Beam's `Shared` alone keeps no value but the last one that any step asked for. A step that uses two, or two steps
    that Beam has fused, would make theirs again for every element.
    """

    def __init__(self):
        """Makes nothing yet."""
        self._shared = Shared()
        self._value: Value | None = None

    def get(self, make: Callable[[], Value]) -> Value:
        """The value, to which weak references exist; `make` is called if no step of this process has one."""
        value = self._value
        if value is None:
            value = self._value = self._shared.acquire(make)
        return value

    def __getstate__(self):
        """Leaves the value behind: other processes make their own."""
        return {"_shared": self._shared, "_value": None}


def let_go() -> None:
    """Frees what steps of a finished job have made in this process.

    Beam keeps the value that a step asked for last, of whatever job, until a step asks for another one.
    """
    Shared().acquire(_Nothing)


class _Nothing:
    """Takes the place of the last value."""
