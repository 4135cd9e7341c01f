"""Placeholders in task commands. `{{$}}` stands for the task's `ExecutorInput` as JSON."""

import re
from collections.abc import Iterable, Sequence

_INPUT = "{{$}}"
_PLACEHOLDER = re.compile(r"\{\{\$.*?\}\}")


def unknown_placeholders(command: Iterable[str]) -> list[str]:
    """Returns the placeholders in a command that `fill` does not replace."""
    return [found for word in command for found in _PLACEHOLDER.findall(word) if found != _INPUT]


def fill(command: Sequence[str], executor_input: str) -> list[str]:
    """Returns the command with the JSON of an `ExecutorInput` instead of `{{$}}`."""
    return [word.replace(_INPUT, executor_input) for word in command]
