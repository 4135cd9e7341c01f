"""The loop: waits for a span, runs the pipeline on it, and goes on with the next, whatever became of it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline.continuous.arrivals import Arrival
from pipeline.continuous.journal import Day, Journal

_READ_LATER = (
    "it gets no run of its own: the windows of later spans read it, and DriftGate does not look at it. "
    "data.leave_out keeps it out"
)


class Waiting(Protocol):
    """Waits, and ends when the process is asked to stop."""

    def wait(self, seconds: float) -> bool:
        """Waits for so long at most; returns whether to stop."""
        ...


class RunSpan(Protocol):
    """Runs the pipeline on a span."""

    def __call__(self, arrival: Arrival, left_out: tuple[str, ...], is_accepted: bool) -> Day | None:
        """What became of the span; None if it was asked to stop meanwhile.

        Args:
            arrival: The span.
            left_out: Names of earlier spans that its window leaves out.
            is_accepted: Whether its drift is let through.
        """
        ...


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

    def noticed(self, day: Day) -> None:
        """A span has arrived or changed that gets no run of its own."""
        ...


@dataclass(frozen=True)
class Order:
    """In which order spans are run on.

    Attributes:
        first_span: Where to begin if the journal is empty; None begins with the newest span that is there.
        accepted: Refused spans to run on again, whose drift is let through.
        poll_seconds: Between two looks; files that were written to within that time are waited for.
        until_idle: Whether to end once no span is left.
    """

    first_span: int | None = None
    accepted: frozenset[int] = frozenset()
    poll_seconds: float = 60.0
    until_idle: bool = False


def run_continuously(
    find: Callable[[], Mapping[int, Arrival]],
    journal: Journal,
    run: RunSpan,
    observer: Observer,
    stop: Waiting,
    order: Order,
) -> bool:
    """Runs the pipeline on one span after the other.

    Args:
        find: Looks which spans are there.
        journal: Of the spans that were run on.
        run: Runs the pipeline.
        observer: Shows what happens.
        stop: Waits between two looks, and says when to stop.
        order: Which spans come when.

    Returns:
        Whether it came to its end; False if it was asked to stop.
    """
    is_announced = False
    again = run_again(order.accepted, journal)
    while True:
        arrivals = find()
        if journal.days and journal.seen is None:
            journal.see(arrivals)
        for day in without_a_run(arrivals, journal, order.poll_seconds):
            journal.add(day)
            observer.noticed(day)
        again = [span for span in again if span in arrivals]
        waiting_for = arrivals[again[0]] if again else next_span(arrivals, journal, order.first_span)
        if waiting_for is None or not waiting_for.is_settled(order.poll_seconds):
            if waiting_for is None and order.until_idle:
                return True
            if not is_announced:
                observer.waiting(journal.days[-1].name if journal.days else None)
                is_announced = True
            if stop.wait(order.poll_seconds):
                return False
            continue
        is_announced = False
        left_out = refused_before(waiting_for.span, arrivals, journal)
        journal.see(arrivals)
        observer.begins(waiting_for, left_out)
        day = run(
            waiting_for, left_out, waiting_for.span in again and _is_let_through(waiting_for.span, order, journal)
        )
        if day is None:
            return False
        journal.add(day)
        observer.ended(day)
        again = again[1:]


def _is_let_through(span: int, order: Order, journal: Journal) -> bool:
    """Whether drift does not stop a span that is run on again: it is accepted, or was not refused before, in which case
    only the accepted one differs from it."""
    before = journal.of(span)
    return span in order.accepted or (before is not None and before.verdict != "refused")


def run_again(accepted: Collection[int], journal: Journal) -> list[int]:
    """Spans to run on again: the accepted ones, refused ones after them, which are compared with them then, and the
    last one, which the last model would not know otherwise.

    A loop that was stopped in between goes on: later spans that were run on since the acceptance are left alone.
    """
    refused = {day.span for day in journal.days if day.verdict == "refused"}
    last = max((day.span for day in journal.days if day.verdict != "late"), default=None)
    place = {span: number for number, span in enumerate(journal.recorded)}

    def is_due(span: int) -> bool:
        if span in accepted and span in refused:
            return True
        before = [each for each in accepted if each < span]
        return any(each in refused or place[span] < place[each] for each in before)

    return [span for span in sorted(refused | ({last} if last is not None else set())) if is_due(span)]


def without_a_run(arrivals: Mapping[int, Arrival], journal: Journal, poll_seconds: float) -> Iterator[Day]:
    """Spans before the last one that have arrived since its run began, or whose files have changed since their own run.

    Later windows read them, but no run begins, as its model would take the place of one that knows later data.
    """
    if not journal.days:
        return
    last = journal.days[-1]
    for span, arrival in arrivals.items():
        if span >= last.span or not arrival.is_settled(poll_seconds):
            continue
        day, facts = journal.of(span), {"span": span, "name": arrival.name, "digest": arrival.digest}
        if day is None and span not in (journal.seen or ()):
            reason = f"arrived after the run on span {last.name} had begun; {_READ_LATER}"
            yield Day(**facts, verdict="late", reason=reason, run="")
        # A refused span that was mended is no surprise: it is left out until then.
        elif day is not None and day.verdict != "refused" and day.digest != arrival.digest:
            reason = f"its files have changed since the run on span {last.name} began; {_READ_LATER}"
            yield day.model_copy(update={"digest": arrival.digest, "reason": reason})


def next_span(arrivals: Mapping[int, Arrival], journal: Journal, first_span: int | None) -> Arrival | None:
    """The span to run on: the oldest after the last one that was run on, or that one itself if its files have changed.

    A span that arrives after a later one has been run on is only read as a part of later windows (`without_a_run`).
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
