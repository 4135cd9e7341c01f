"""Spans and versions: which of the files that lie there belong to the window of days (or hours, or weeks) that is read.

The markers are TFX's: `{SPAN}` stands for a number, `{YYYY}`, `{MM}` and `{DD}` together for a date, whose number is
that of days since 1970-01-01, and `{VERSION}` for the number of a later delivery of the same span. TFX's own drivers
read one span and refuse a `range_config` of several (`input_processor.py`), and the resolvers that collect more do not
exist on Vertex AI; so the driver gets patterns in which a marker is a wildcard, and the window is chosen here.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from trainer_module.errors import DataError

MissingSpans = Literal["warning", "error"]

_EPOCH = date(1970, 1, 1)
_DATE = ("YYYY", "MM", "DD")
_DIGITS = {"YYYY": r"\d{4}", "MM": r"\d{2}", "DD": r"\d{2}", "SPAN": r"\d+", "VERSION": r"\d+"}
_MARKER = re.compile(r"\{([^{}]*)\}")
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class SpanFile:
    """A file and what its path says.

    Attributes:
        path: Where it lies.
        span: Number of its span.
        version: Of the span; None if the pattern has no `{VERSION}`.
    """

    path: str
    span: int
    version: int | None


@dataclass(frozen=True)
class Chosen:
    """What is read.

    Attributes:
        files: Paths, in alphabetical order.
        spans: Numbers, ascending.
        version: Of the newest span.
        newest_files: Those of the newest span.
        warning: Says which spans of the window are not there; None if all are.
    """

    files: list[str]
    spans: tuple[int, ...]
    version: int | None
    newest_files: frozenset[str]
    warning: str | None


def has_span(pattern: str) -> bool:
    """Whether a pattern has a marker of spans."""
    return bool({"SPAN", *_DATE} & set(_MARKER.findall(pattern)))


def check_pattern(pattern: str) -> None:
    """Checks the markers of a pattern.

    Raises:
        ValueError: One is unknown, stands there twice, lacks another one that belongs to it, or touches what may also
            hold digits.
    """
    markers = _MARKER.findall(pattern)
    if unknown := sorted(set(markers) - set(_DIGITS)):
        raise ValueError(
            f"{pattern!r} has the marker {{{unknown[0]}}}; known are {{SPAN}}, or {{YYYY}}, {{MM}} and {{DD}}, and "
            "{VERSION} beside either. Several patterns are a list, as in [a.csv, b.csv]"
        )
    if twice := sorted(marker for marker in set(markers) if markers.count(marker) > 1):
        raise ValueError(f"{pattern!r} has {{{twice[0]}}} more than once; name it once, and use * elsewhere")
    in_date = [marker for marker in _DATE if marker in markers]
    if in_date and ("SPAN" in markers or len(in_date) < len(_DATE)):
        raise ValueError(f"{pattern!r}: a span is {{SPAN}} alone, or {{YYYY}}, {{MM}} and {{DD}} together")
    if "VERSION" in markers and not has_span(pattern):
        raise ValueError(f"{pattern!r} has {{VERSION}} and no {{SPAN}}; a version is one of a span")
    if found := re.search(r"([*?\]}\d]\{(SPAN|VERSION)\}|\{(SPAN|VERSION)\}[*?\[{\d])", pattern):
        raise ValueError(
            f"{pattern!r}: where the number begins or ends at {found[0]!r} is open; part the two with a character such "
            "as / or -"
        )


def wildcards(pattern: str) -> str:
    """The pattern with `*` for every marker."""
    return re.sub(r"\*+", "*", _MARKER.sub("*", pattern)) if has_span(pattern) else pattern


def number_of(day: date | int) -> int:
    """Number of a span that is named by its date or by its number, as in TFX."""
    return (day - _EPOCH).days if isinstance(day, date) else day


def read_spans(directory: str, files: Iterable[str], patterns: Sequence[str]) -> list[SpanFile]:
    """Reads spans and versions from paths.

    Args:
        directory: Below which the patterns begin.
        files: What the patterns match with wildcards for their markers.
        patterns: All with a marker.

    Raises:
        DataError: A path has no number, or no date of the calendar, where the marker stands.
    """
    return [_read(directory.rstrip("/"), file, patterns) for file in files]


def is_dated(pattern: str) -> bool:
    """Whether a pattern names spans by date."""
    return "{YYYY}" in pattern


def choose(
    files: Sequence[SpanFile],
    window: int,
    last_span: int | None,
    on_missing: MissingSpans,
    by_date: bool = False,
    leave_out: Collection[int] = (),
) -> Chosen:
    """Chooses the files of a window, each span in its newest version.

    Args:
        files: One at least.
        window: Length of the window in spans; 0 takes all.
        last_span: Ends the window; None takes the newest span.
        on_missing: Whether a window that is not whole is an error.
        by_date: Whether messages name spans by date.
        leave_out: Spans that are not read, and not missing.

    Raises:
        DataError: No span lies in the window, or one is missing and must not.
    """
    there = sorted({file.span for file in files} - set(leave_out))
    if not there:
        raise DataError(f"data.leave_out names all spans that there are, as in {files[0].path}; leave a span in")
    last = there[-1] if last_span is None else last_span
    # Spans count from 0; only dates may lie before.
    first = max(last - window + 1, min(there[0], 0)) if window else min(there[0], last)
    spans = tuple(span for span in there if first <= span <= last)
    if not spans:
        raise DataError(
            f"no span in {_as_text(first, last, by_date)} (data.window, data.last_span); there are "
            f"{as_ranges(there, by_date)} in "
            f"{files[0].path} and the like. Name a data.last_span among them, or a longer data.window"
        )
    # Numbers may be dates or times, with millions between two; so gaps are ranges.
    known = sorted({first - 1, *spans, *(span for span in leave_out if first <= span <= last), last + 1})
    gaps = [range(before + 1, after) for before, after in itertools.pairwise(known)]
    warning = None
    if missing := sum(map(len, gaps)):
        lacking = _joined([_as_text(gap[0], gap[-1], by_date) for gap in gaps if gap])
        warning = (
            f"of the window of spans {_as_text(first, last, by_date)}, {missing:,} missing: {lacking}; there are "
            f"{as_ranges(there, by_date)}"
        )
    if warning and on_missing == "error":
        raise DataError(f"{warning}. Deliver what is missing, or set data.missing_spans=warning to go on without it")
    newest: dict[int, int | None] = {}
    for file in files:
        if file.version is not None:
            newest[file.span] = max(file.version, newest.get(file.span) or 0)
    chosen = [file.path for file in files if file.span in spans and file.version == newest.get(file.span)]
    newest_files = {file.path for file in files if file.span == spans[-1]}.intersection(chosen)
    return Chosen(sorted(chosen), spans, newest.get(spans[-1]), frozenset(newest_files), warning)


def as_ranges(spans: Iterable[int], by_date: bool = False) -> str:
    """Ascending spans as text, such as `3-5,8`; dates as ISO 8601 writes them, `2024-05-01/2024-05-03`."""
    runs = [[span for _, span in run] for _, run in itertools.groupby(enumerate(spans), lambda pair: pair[1] - pair[0])]
    return _joined([_as_text(run[0], run[-1], by_date) for run in runs])


def _as_text(first: int, last: int, by_date: bool) -> str:
    ends = [str(_EPOCH + timedelta(days=span)) if by_date else str(span) for span in (first, last)]
    return ends[0] if first == last else ("/" if by_date else "-").join(ends)


def _joined(ranges: list[str]) -> str:
    return ",".join(ranges[:_NAMED_AT_MOST]) + (",..." if len(ranges) > _NAMED_AT_MOST else "")


def _read(directory: str, file: str, patterns: Sequence[str]) -> SpanFile:
    match = _match(directory, file, patterns, _DIGITS)
    if match is None:
        loose = _match(directory, file, patterns, dict.fromkeys(_DIGITS, "[^/]*"))
        found = ", ".join(f"{{{marker}}} is {text!r}" for marker, text in (loose.groupdict() if loose else {}).items())
        raise DataError(
            f"{file}: {found or 'no marker found'}, and a number is expected. Move the file away, or narrow data.files"
        )
    marked = {marker: int(digits) for marker, digits in match.groupdict().items()}
    return SpanFile(file, _span(file, marked), marked.get("VERSION"))


def _match(directory: str, file: str, patterns: Sequence[str], markers: dict[str, str]) -> re.Match[str] | None:
    """How the first pattern that fits a path fits it."""
    prefix = re.escape(f"{directory}/")
    return next(filter(None, (re.fullmatch(prefix + _regex(pattern, markers), file) for pattern in patterns)), None)


def _span(file: str, marked: dict[str, int]) -> int:
    if "SPAN" in marked:
        return marked["SPAN"]
    try:
        return number_of(date(*(marked[marker] for marker in _DATE)))
    except ValueError as error:
        raise DataError(f"{file}: its path is no date ({error}). Move the file away, or narrow data.files") from None


def _regex(pattern: str, markers: dict[str, str]) -> str:
    """A regular expression for what a pattern of files matches, each marker a named group."""
    parts = re.split(r"(\{\w+\}|\[[^\]]*\]|\*+|\?)", pattern)
    return "".join(_part(part, markers) for part in parts)


def _part(part: str, markers: dict[str, str]) -> str:
    if part.strip("{}") in markers and part.startswith("{"):
        return f"(?P<{part[1:-1]}>{markers[part[1:-1]]})"
    if part.startswith("*"):
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if part.startswith("[") and part.endswith("]"):
        return part.replace("[!", "[^", 1)
    return re.escape(part)
