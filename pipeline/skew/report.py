"""What a comparison came to: which measures are above their thresholds, as a table or as JSON."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.skew.columns import ColumnCounts
from pipeline.skew.replay import AnswerCounts

ANSWERS = "answers"
"""Subject of what the pushed version refuses."""

_WIDTH_OF_PIPES = 200
# What a share may be off by chance.
_STANDARD_ERRORS = 4


@dataclass(frozen=True)
class Thresholds:
    """The largest values that are no skew.

    Attributes:
        differing: Share of rows whose logged answer the pushed version does not repeat, or that it refuses.
        l_infinity: Largest difference of a token's share between training split and requests.
        jensen_shannon: Divergence of numbers, in bits.
        missing: Difference of the shares of rows without a value.
        out_of_vocabulary: Share of tokens that no vocabulary holds.
        out_of_range: Share of numbers outside the range of the training split.
    """

    differing: float = 0.01
    l_infinity: float = 0.1
    jensen_shannon: float = 0.1
    missing: float = 0.05
    out_of_vocabulary: float = 0.1
    out_of_range: float = 0.01


@dataclass(frozen=True)
class Measured:
    """A measure of an output or column.

    Attributes:
        subject: Column, or output with its signature.
        measure: Its name.
        value: What was measured.
        allowed: Threshold; or what chance explains, if that is more.
        note: More about it, for people.
    """

    subject: str
    measure: str
    value: float
    allowed: float
    note: str = ""

    @property
    def is_skew(self) -> bool:
        # Of NumPy's numbers it would be no bool of JSON.
        return bool(self.value > self.allowed)

    @property
    def excess(self) -> float:
        """Value over threshold; infinite where nothing is allowed."""
        return self.value / self.allowed if self.allowed else math.inf if self.value else 0.0


@dataclass
class SkewReport:
    """What a log says.

    Attributes:
        model: The pushed version.
        calls: Number of logged calls.
        rows: Number of rows in them.
        unanswered: Calls that the server answered with an error, or whose answer is not in the log.
        not_asked: Rows that could not be replayed, because columns lacked or were unknown.
        bad_lines: Messages about lines that are no calls.
        versions: Calls by the version that the log names.
        measured: All measures.
        compared: Outputs that were compared.
        refused: Rows that the pushed version refuses.
        columns_only: Whether answers were not to be compared.
        columns: Number of columns that were to be compared with the training split.
    """

    model: str
    calls: int = 0
    rows: int = 0
    unanswered: int = 0
    not_asked: int = 0
    bad_lines: list[str] = field(default_factory=list)
    versions: dict[int, int] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    compared: list[AnswerCounts] = field(default_factory=list)
    refused: int = 0
    columns_only: bool = False
    columns: int = 0

    @property
    def skewed(self) -> list[Measured]:
        """Measures above their thresholds, the worst first."""
        # Where nothing is allowed, the larger share is worse.
        return sorted((each for each in self.measured if each.is_skew), key=lambda each: (-each.excess, -each.value))

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Sentences about what was to be compared and was not at all; a log without skew passes only without them."""
        found = []
        if not self.columns_only and not self.refused and not any(each.rows for each in self.compared):
            found.append(f"no answer was compared: {self._why_no_answer}")
        answers = {f"{each.signature}: {each.output}" for each in self.compared} | {ANSWERS}
        if self.columns and not any(each.subject not in answers for each in self.measured):
            found.append("no column was compared with the training split: no row of the log has a value of its type")
        return tuple(found)

    @property
    def _why_no_answer(self) -> str:
        if not self.calls:
            return "no line of the log is a call of this model"
        if self.unanswered == self.calls:
            return (
                "no call has an answer in the log. Log the responses, too, or compare columns alone with --columns-only"
            )
        if self.not_asked:
            return "no row could be asked again, because their columns are not those of the signature"
        return "no answer in the log has a row"

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-serializable values; infinite differences are None."""
        return {
            "model": self.model,
            "calls": self.calls,
            "rows": self.rows,
            "unanswered_calls": self.unanswered,
            "rows_not_asked": self.not_asked,
            "bad_lines": self.bad_lines,
            "calls_by_version": {str(version): calls for version, calls in self.versions.items()},
            "answers": [_finite(asdict(each)) for each in self.compared],
            "measures": [asdict(each) | {"is_skew": each.is_skew} for each in self.measured],
            "unchecked": list(self.unchecked),
            "skew": [f"{each.subject}: {each.measure}" for each in self.skewed],
        }


def measures_of_answers(
    answers: Sequence[AnswerCounts], refused: int, refusal: str, thresholds: Thresholds
) -> Iterator[Measured]:
    """Shares of rows whose answers differ, by output, and of those that the pushed version refuses."""
    for each in answers:
        note = each.first
        if each.largest is not None and each.differing:
            note = f"largest {each.largest:.4g}, mean {each.total / each.rows:.4g}; {note}"
        share = each.differing / max(each.rows, 1)
        yield Measured(f"{each.signature}: {each.output}", "differing answers", share, thresholds.differing, note)
    if refused:
        rows = refused + max((each.rows for each in answers), default=0)
        yield Measured(ANSWERS, "refused by the model", refused / rows, thresholds.differing, refusal)


def measures_of_column(counts: ColumnCounts, thresholds: Thresholds) -> Iterator[Measured]:
    """All measures of a column that its requests allow."""
    name, total = counts.column.name, counts.rows + counts.wrong_type
    if counts.absent:
        yield Measured(
            name, "missing column", counts.absent / (counts.absent + total), 0.0, f"from {counts.absent_note}"
        )
    if counts.wrong_type:
        yield Measured(name, "wrong type", counts.wrong_type / total, 0.0, counts.wrong_note)
    if not counts.rows:
        return
    if (trained := counts.trained_missing) is not None:
        share = counts.share_missing
        note = f"{trained:.3f} in training, {share:.3f} here"
        allowed = max(thresholds.missing, _STANDARD_ERRORS * math.sqrt(trained * (1 - trained) / counts.rows))
        yield Measured(name, "missing values", abs(share - trained), allowed, note)
    for measure, distance, threshold in (
        ("L-infinity", counts.l_infinity, thresholds.l_infinity),
        ("Jensen-Shannon", counts.jensen_shannon, thresholds.jensen_shannon),
    ):
        if distance is not None:
            yield Measured(name, measure, distance.value, max(threshold, distance.by_chance), distance.note)
    if (share := counts.out_of_vocabulary) is not None:
        yield Measured(name, "out of vocabulary", share, thresholds.out_of_vocabulary)
    if (share := counts.out_of_range) is not None:
        yield Measured(name, "out of range", share, thresholds.out_of_range)


def print_report(report: SkewReport, console: Console) -> None:
    """Prints what is above its threshold, the worst first, and for every column its measures."""
    if not console.is_terminal:
        # A pipe has no width, and what reads it wants whole lines.
        console.width = _WIDTH_OF_PIPES
    console.print(f"{report.calls} calls, {report.rows} rows, beside {report.model}", markup=False, soft_wrap=True)
    for count, what in (
        (report.unanswered, "calls have no answer in the log"),
        (report.not_asked, "rows were not asked again, because their columns are not those of the signature"),
    ):
        if count:
            console.print(f"{count} {what}", markup=False, soft_wrap=True)
    if len(report.versions) > 1:
        by_version = ", ".join(f"version {version}: {calls}" for version, calls in sorted(report.versions.items()))
        console.print(f"calls by version that the log names: {by_version}", markup=False, soft_wrap=True)
    if report.versions and Path(report.model).name not in map(str, report.versions):
        known = ", ".join(map(str, sorted(report.versions)))
        text = f"the log names version {known} alone, which is not the one that its answers are compared with"
        console.print(text, markup=False, soft_wrap=True)
    for line in report.bad_lines:
        console.print(f"not a call: {line}", markup=False, soft_wrap=True)
    if skewed := report.skewed:
        console.print(_table("above thresholds, the worst first", skewed))
    within = [each for each in report.measured if not each.is_skew]
    within.sort(key=lambda each: -each.excess)
    if within:
        console.print(_table("within thresholds", within))
    for sentence in report.unchecked:
        console.print(sentence, markup=False, soft_wrap=True)
    if not skewed and not report.unchecked:
        console.print("no skew found")


def _table(title: str, measured: Sequence[Measured]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name, justify in (
        ("what", "left"),
        ("measure", "left"),
        ("value", "right"),
        ("allowed", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")
    for each in measured:
        table.add_row(escape(each.subject), each.measure, f"{each.value:.4f}", f"{each.allowed:.4f}", escape(each.note))
    return table


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
