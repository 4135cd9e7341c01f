"""What a join is."""

from collections.abc import Sequence
from typing import Any, Protocol

from components.example_gen.output.examples import Part
from components.example_gen.rows import Entities, Rows


class Join(Protocol):
    """Gives examples some of their columns.

    A join that must know something of all rows first summarizes each block of assigned rows; the merged summary is
    handed to `parts`. Instances and summaries are picklable.
    """

    @property
    def name(self) -> str:
        """Distinct name."""
        ...

    @property
    def needs_summary(self) -> bool:
        """Whether `parts` needs a summary of all rows."""
        ...

    @property
    def whole_users(self) -> bool:
        """Whether `parts` must be given all rows of each user together."""
        ...

    def summarize(self, rows: Rows, entities: Entities) -> Any:
        """What the join must know of a block; `rows.split` is set."""
        ...

    def merge(self, parts: Sequence[Any]) -> Any:
        """The summary of all rows of at least one part; associative and commutative."""
        ...

    def parts(self, rows: Rows, known: Any, entities: Entities) -> list[Part]:
        """Columns of the rows' examples.

        Args:
            rows: Of a block or partition.
            known: The merged summary of all rows; None if the join needs none.
            entities: What the rows point into.
        """
        ...


class WithoutSummary:
    """Base of joins that look at nothing but the rows at hand."""

    needs_summary = False
    whole_users = False

    def summarize(self, rows: Rows, entities: Entities) -> Any:
        """Not called: there is nothing to know."""
        raise AssertionError(f"{type(self).__name__} needs no summary")

    def merge(self, parts: Sequence[Any]) -> Any:
        """Not called: there is nothing to know."""
        raise AssertionError(f"{type(self).__name__} needs no summary")
