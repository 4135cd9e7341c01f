"""The loop: waits for a span, runs the pipeline on it, and goes on with the next, whatever became of it."""

from collections.abc import Callable, Mapping
from typing import Protocol

from pipeline.continuous.arrivals import Arrival
from pipeline.continuous.journal import Day, Journal


class Waiting(Protocol):
    """Waits, and ends when the process is asked to stop."""

    def wait(self, seconds: float) -> bool:
        """Waits for so long at most; returns whether to stop."""
        ...


RunSpan = Callable[[Arrival, tuple[str, ...]], Day | None]
"""Runs the pipeline on a span, leaving others out by their names; None if it was asked to stop meanwhile."""


class Observer(Protocol):
    """Shows what the loop does."""

    def waiting(self, after: str | None) -> None:
        """The loop waits for a span after this one; None if there has been none."""
        ...

    def begins(self, arrival: Arrival, left_out: tuple[str, ...]) -> None:
        """The pipeline begins to run on a span."""
        ...

    def ended(self, day: Day) -> None:
        """The pipeline has ended."""
        ...


def run_continuously(
    find: Callable[[], Mapping[int, Arrival]],
    journal: Journal,
    run: RunSpan,
    observer: Observer,
    stop: Waiting,
    first_span: int | None,
    poll_seconds: float,
    until_idle: bool,
) -> bool:
    """Runs the pipeline on one span after the other.

    Args:
        find: Looks which spans are there.
        journal: Of the spans that were run on.
        run: Runs the pipeline.
        observer: Shows what happens.
        stop: Waits between two looks, and says when to stop.
        first_span: Where to begin if the journal is empty; None begins with the newest span that is there.
        poll_seconds: Between two looks; files that were written to within that time are waited for.
        until_idle: Whether to end once no span is left.

    Returns:
        Whether it came to its end; False if it was asked to stop.
    """
    is_announced = False
    while True:
        arrivals = find()
        waiting_for = next_span(arrivals, journal, first_span)
        if waiting_for is None or not waiting_for.is_settled(poll_seconds):
            if waiting_for is None and until_idle:
                return True
            if not is_announced:
                observer.waiting(journal.days[-1].name if journal.days else None)
                is_announced = True
            if stop.wait(poll_seconds):
                return False
            continue
        is_announced = False
        left_out = refused_before(waiting_for.span, arrivals, journal)
        observer.begins(waiting_for, left_out)
        day = run(waiting_for, left_out)
        if day is None:
            return False
        journal.add(day)
        observer.ended(day)


def next_span(arrivals: Mapping[int, Arrival], journal: Journal, first_span: int | None) -> Arrival | None:
    """The span to run on: the oldest after the last one that was run on, or that one itself if its files have changed.

    A span that arrives after a later one has been run on is only read as a part of later windows.
    """
    if not journal.days:
        candidates = [span for span in arrivals if first_span is None or span >= first_span]
        chosen = candidates[-1:] if first_span is None else candidates[:1]
        return arrivals[chosen[0]] if chosen else None
    last = journal.days[-1]
    if last.span in arrivals and arrivals[last.span].digest != last.digest:
        return arrivals[last.span]
    return next((arrivals[span] for span in sorted(arrivals) if span > last.span), None)


def refused_before(span: int, arrivals: Mapping[int, Arrival], journal: Journal) -> tuple[str, ...]:
    """Names of earlier spans whose data were refused and have not changed since; windows leave them out."""
    return tuple(
        day.name
        for day in journal.days
        if day.verdict == "refused"
        and day.span < span
        and day.span in arrivals
        and arrivals[day.span].digest == day.digest
    )
