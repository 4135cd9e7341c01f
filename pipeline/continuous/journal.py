"""What became of each span: one line of JSON each, so that a loop that is started again goes on where it was."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from pipeline.config import Locations
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen

Verdict: TypeAlias = Literal["pushed", "not pushed", "refused", "failed", "late"]


class Day(Frozen):
    """What became of a span.

    Attributes:
        span: Its number.
        name: As people name it.
        digest: Of its files when it was read.
        verdict: `refused` if its data stopped the run before the training, `failed` if something else stopped it,
            `late` if it arrived after a later span had been run on, so that it gets no run of its own.
        reason: Why.
        run: Name of the run; empty for a late one.
        metrics: Those that judge the model, by name.
        new_tokens: Tokens that the warm start did not know, over all tables; None without a warm start.
        table_rows: Rows of all embedding tables; None if nothing was trained.
        drift: Measures above their thresholds; None if that is not known.
    """

    span: int
    name: str
    digest: str
    verdict: Verdict
    reason: str
    run: str
    metrics: dict[str, float | None] = {}
    new_tokens: int | None = None
    table_rows: int | None = None
    drift: int | None = None


class Journal:
    """The spans that a pipeline's loop has run on, the last result of each."""

    def __init__(self, locations: Locations, pipeline_name: str):
        """Reads the file, if there is one.

        Raises:
            ConfigError: A line is damaged.
        """
        self._file: Path = locations.root / "continuous" / f"{pipeline_name}.jsonl"
        self._seen_file = self._file.with_suffix(".seen.json")
        self._seen = self._read_seen()
        self._days: dict[int, Day] = {}
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                day = Day.model_validate_json(line)
            except ValidationError as error:
                raise ConfigError(
                    f"{self._file}, line {number}: not the record of a span ({error.error_count()} errors). Remove the "
                    "line; its span is then run on again"
                ) from None
            self._record(day)

    @property
    def days(self) -> list[Day]:
        """What became of each span, in their order."""
        return [self._days[span] for span in sorted(self._days)]

    @property
    def recorded(self) -> list[int]:
        """Spans in the order in which their last results were recorded."""
        return list(self._days)

    def of(self, span: int) -> Day | None:
        """What became of a span; None if it was not run on."""
        return self._days.get(span)

    @property
    def seen(self) -> frozenset[int] | None:
        """Spans that were there when the last run began; None if that was not recorded."""
        return self._seen

    def see(self, spans: Iterable[int]) -> None:
        """Records which spans are there."""
        self._seen = frozenset(spans)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._seen_file.with_suffix(".tmp")
        partial.write_text(json.dumps(sorted(self._seen)), encoding="utf-8")
        os.replace(partial, self._seen_file)

    def _read_seen(self) -> frozenset[int] | None:
        if not self._seen_file.exists():
            return None
        try:
            return frozenset(TypeAdapter(list[int]).validate_json(self._seen_file.read_text(encoding="utf-8")))
        except ValidationError:
            raise ConfigError(
                f"{self._seen_file}: not a list of the numbers of spans. Remove the file; spans that are there now "
                "then count as seen"
            ) from None

    def add(self, day: Day) -> None:
        """Records a span."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(day.model_dump()) + "\n"
        with self._file.open("a", encoding="utf-8") as file:
            file.write(text)
        self._record(day)

    def _record(self, day: Day) -> None:
        # The last one recorded comes last.
        self._days.pop(day.span, None)
        self._days[day.span] = day
