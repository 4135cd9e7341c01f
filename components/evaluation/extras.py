"""What the Evaluator writes besides TFMA's metrics, as its executor tells the extractors.

TFX calls `custom_extractors` without the output's directory, in a module that it loads anew; this one it does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from components.evaluation.permutation import Plan
from components.evaluation.row_writer import KeptRows


@dataclass(frozen=True)
class Extras:
    """What is written.

    Attributes:
        directory: Of the Evaluator's output.
        rows: The rows that are kept.
        plan: Which importance is measured.
    """

    directory: str
    rows: KeptRows
    plan: Plan


_extras: ContextVar[Extras | None] = ContextVar("extras", default=None)


@contextmanager
def writing(extras: Extras) -> Iterator[None]:
    """Makes evaluations that are built inside write extras."""
    token = _extras.set(extras)
    try:
        yield
    finally:
        _extras.reset(token)


def extras_to_write() -> Extras | None:
    """What `writing` was given; None outside of it."""
    return _extras.get()
