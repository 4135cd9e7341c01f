"""What stands in a task's command for what only the service knows."""

import json
import re
from collections.abc import Iterable, Sequence

_PLACEHOLDER = re.compile(r"\{\{(\$.*?)\}\}")
_ESCAPED = re.compile(r"\$\.json_escape\[(\d+)\]")


def unknown_placeholders(command: Iterable[str]) -> list[str]:
    """Those in a command that `fill` would not know."""
    found = [match for word in command for match in _PLACEHOLDER.finditer(word)]
    return [match.group() for match in found if match[1] != "$" and not _ESCAPED.fullmatch(match[1])]


def fill(command: Sequence[str], executor_input: str) -> list[str]:
    """The command with the JSON of an `ExecutorInput` in place of `{{$}}`.

    `{{$.json_escape[N]}}` stands for the same within a JSON string within N - 1 others.
    """

    def text(match: re.Match[str]) -> str:
        escaped = _ESCAPED.fullmatch(match[1])
        result = executor_input
        for _ in range(int(escaped[1]) if escaped else 0):
            result = json.dumps(result)[1:-1]
        return result

    return [_PLACEHOLDER.sub(text, word) for word in command]
