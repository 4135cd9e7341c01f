"""Values between the steps of an ingestion that lie in files, since Beam's in-process runner holds elements in memory.

The runner keeps everything that it has not handed on yet: all rows, where a step must have seen all of them before the
next one begins. It also copies elements several times on their way, which takes longer than a file that is written once
and read once. An element that was put aside is the name of a file.
"""

import os
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PutAside:
    """A value in a file, which begins at a byte of it."""

    path: str
    begin: int = 0


@dataclass(frozen=True)
class Aside:
    """Where values are put aside.

    Attributes:
        directory: Local directory that all workers see; None leaves values where they are.
    """

    directory: str | None = None

    def put(self, value: Any) -> Any:
        """The value, or what `got` makes it from again; the file stays, because a value may be read several times."""
        (element,) = self.put_all([value])
        return element

    def put_all(self, values: Iterable[Any]) -> Iterator[Any]:
        """As `put`, for values that go to one file: many small files take long to make, and longer to remove."""
        if self.directory is None:
            yield from values
            return
        path = os.path.join(self.directory, uuid.uuid4().hex)
        begins = []
        with open(path, "wb") as file:
            for value in values:
                begins.append(file.tell())
                pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
        yield from (PutAside(path, begin) for begin in begins)


# Values stay where they are.
IN_MEMORY = Aside()


def got(element: Any) -> Any:
    """The value of an element, whether or not it was put aside."""
    if not isinstance(element, PutAside):
        return element
    with open(element.path, "rb") as file:
        file.seek(element.begin)
        return pickle.load(file)


def of_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function for a first argument that may have been put aside."""

    def of_element(element: Any, *others: Any) -> Any:
        return function(got(element), *others)

    return of_element
