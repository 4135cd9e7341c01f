"""Conditions under which a task is triggered: the part of the Common Expression Language that TFX and KFP write.

https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import operator
import re
from collections.abc import Callable
from typing import Any

from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from trainer_module.errors import RecspanError

_Evaluate = Callable[[Any], Any]

_TOKEN = re.compile(
    r"\s*(?P<token>"
    r"inputs\.artifacts\['(?P<artifact>[^']+)'\]\.artifacts\[(?P<index>\d+)\]"
    r"\.(?:metadata\['(?P<metadata>[^']+)'\]|(?P<attribute>uri|name))"
    r"|inputs\.(?:parameter_values\['(?P<value>[^']+)'\]"
    r"|parameters\['(?P<parameter>[^']+)'\]\.(?P<kind>int_value|double_value|string_value))"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)|'(?P<text>[^'\\]*)'|\"(?P<quoted>[^\"\\]*)\"|(?P<word>true|false)\b"
    r"|&&|\|\||==|!=|<=|>=|[<>!()+])"
)
_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


class _NotUnderstood(Exception):
    """The expression is not of the part that is known."""


def problem(condition: str) -> str:
    """What a condition holds that is not understood; empty if nothing."""
    try:
        _parse(condition)
    except _NotUnderstood as error:
        return str(error)
    return ""


def holds(condition: str, inputs: pb.ExecutorInput.Inputs) -> bool:
    """Whether a task with these inputs is triggered.

    Raises:
        RecspanError: The condition asks for what an input does not have, or compares what cannot be compared.
    """
    try:
        return bool(_parse(condition)(inputs))
    except (LookupError, TypeError) as error:
        raise RecspanError(f"the condition {condition!r} cannot be evaluated: {error}") from None


def _parse(condition: str) -> _Evaluate:
    parser = _Parser(condition)
    evaluate = parser.alternatives()
    if parser.token:
        raise _NotUnderstood(f"{parser.token!r} is not expected there")
    return evaluate


class _Parser:
    """By recursive descent: `||` binds least, then `&&`, comparisons, `+`, `!`."""

    def __init__(self, condition: str):
        self._rest = condition
        self._next()

    def alternatives(self) -> _Evaluate:
        left = self._conjunction()
        while self._take("||"):
            left = _either(left, self._conjunction())
        return left

    def _conjunction(self) -> _Evaluate:
        left = self._comparison()
        while self._take("&&"):
            left = _both(left, self._comparison())
        return left

    def _comparison(self) -> _Evaluate:
        left = self._sum()
        if self.token in _COMPARISONS:
            compare = _COMPARISONS[self._next()]
            return _applied(compare, left, self._sum())
        return left

    def _sum(self) -> _Evaluate:
        left = self._operand()
        while self._take("+"):
            left = _applied(operator.add, left, self._operand())
        return left

    def _operand(self) -> _Evaluate:
        if self._take("!"):
            negated = self._operand()
            return lambda of: not negated(of)
        if self._take("("):
            inner = self.alternatives()
            if not self._take(")"):
                raise _NotUnderstood("a parenthesis is not closed")
            return inner
        match = self._match
        if match is None:
            raise _NotUnderstood(f"something is missing at {self.token!r}" if self.token else "it ends too early")
        evaluate = _value(match)
        if evaluate is None:
            raise _NotUnderstood(f"something is missing before {self.token!r}")
        self._next()
        return evaluate

    def _take(self, token: str) -> bool:
        if self.token != token:
            return False
        self._next()
        return True

    def _next(self) -> str:
        """Goes on to the next token; returns the one that was the last."""
        last = getattr(self, "token", "")
        self._match = _TOKEN.match(self._rest)
        if self._match is None and self._rest.strip():
            raise _NotUnderstood(f"{self._rest.strip()!r} is not understood")
        self.token = self._match["token"] if self._match else ""
        self._rest = self._rest[self._match.end() :] if self._match else ""
        return last


def _either(left: _Evaluate, right: _Evaluate) -> _Evaluate:
    return lambda of: left(of) or right(of)


def _both(left: _Evaluate, right: _Evaluate) -> _Evaluate:
    return lambda of: left(of) and right(of)


def _applied(function: Callable[[Any, Any], Any], left: _Evaluate, right: _Evaluate) -> _Evaluate:
    return lambda of: function(left(of), right(of))


def _value(match: re.Match[str]) -> _Evaluate | None:
    """What a token stands for; None if it is an operator."""
    groups = match.groupdict()
    if (key := groups["artifact"]) is not None:
        index, metadata, attribute = int(groups["index"]), groups["metadata"], groups["attribute"]
        return lambda of: _of_artifact(_artifact(of, key, index), metadata, attribute)
    if (name := groups["value"]) is not None:
        return lambda of: _plain(_known(of.parameter_values, name))
    if (name := groups["parameter"]) is not None:
        return lambda of: getattr(_known(of.parameters, name), groups["kind"])
    if groups["number"] is not None:
        return lambda of: float(groups["number"])
    if groups["word"] is not None:
        return lambda of: groups["word"] == "true"
    for quoted in (groups["text"], groups["quoted"]):
        if quoted is not None:
            return lambda of, text=quoted: text
    return None


def _artifact(inputs: pb.ExecutorInput.Inputs, key: str, index: int) -> pb.RuntimeArtifact:
    artifacts = _known(inputs.artifacts, key).artifacts
    if index >= len(artifacts):
        raise LookupError(f"input {key} has {len(artifacts)} artifact(s)")
    return artifacts[index]


def _of_artifact(artifact: pb.RuntimeArtifact, metadata: str | None, attribute: str | None) -> Any:
    if metadata is not None:
        return _plain(_known(artifact.metadata.fields, metadata))
    return getattr(artifact, attribute or "uri")


def _known(of: Any, key: str) -> Any:
    # A protobuf map would make the entry instead of missing it.
    if key not in of:
        raise LookupError(f"there is no {key!r}, only {', '.join(sorted(of)) or 'nothing'}")
    return of[key]


def _plain(value: struct_pb2.Value) -> Any:
    return getattr(value, value.WhichOneof("kind") or "null_value")
