"""Work of a step that goes on in other threads while Beam takes along what the step gave before.

Parsing, encoding and compressing leave Python's lock to others most of the time. Errors reach Beam as they were raised,
which those of a second worker of its in-process runner do not. A step that uses one of these has to end it with its
bundle: what is under way belongs to that.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Element = TypeVar("Element")
Result = TypeVar("Result")

# Elements that are under way beside the one whose results are taken. Two take as long, and more memory.
_AHEAD = 1


class Ahead(Generic[Element, Result]):
    """Calls a generator for some elements before the results of the first one have been taken.

    Of each element, one result at a time is made before it is asked for, so that memory holds few of them.
    """

    def __init__(self, function: Callable[[Element], Iterator[Result]]):
        """Takes the generator, which other threads call."""
        self._function = function
        self._threads = ThreadPoolExecutor(_AHEAD + 1, "ahead")
        self._begun: deque[tuple[Iterator[Result], Future[Any]]] = deque()

    def add(self, element: Element) -> Iterator[Result]:
        """Begins with an element; gives the results of an earlier one, if enough elements are under way."""
        results = self._function(element)
        self._begun.append((results, self._next(results)))
        if len(self._begun) > _AHEAD:
            yield from self._first()

    def end(self) -> Iterator[Result]:
        """The results of all elements that are under way."""
        while self._begun:
            yield from self._first()
        self._threads.shutdown()

    def _first(self) -> Iterator[Result]:
        results, following = self._begun.popleft()
        while (result := following.result()) is not _END:
            following = self._next(results)
            yield result

    def _next(self, results: Iterator[Result]) -> Future[Any]:
        return self._threads.submit(next, results, _END)


class Behind:
    """Makes one call at a time in another thread, while the caller goes on."""

    def __init__(self):
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[None] | None = None

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Begins a call once the one before it has ended, whose error it raises."""
        self.wait()
        self._last = self._thread.submit(function, *arguments)

    def wait(self) -> None:
        """Waits for the last call, whose error it raises."""
        last, self._last = self._last, None
        if last:
            last.result()

    def end(self) -> None:
        """Waits for the last call, however it ends, so that none goes on beside a repetition of the step."""
        self._thread.shutdown()


_END = object()
