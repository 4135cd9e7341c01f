"""Reads YAML as people mean it; whatever is wrong with it becomes one sentence with its line.

A key that stands twice, a number with a leading zero (octal) or with colons (base 60), and a key that is no text have a
meaning in YAML 1.1 that nobody intends in an experiment file: they are refused. Dates stay texts.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.yaml_limits import check_limits
from trainer_module.errors import ConfigError

# Devices such as /dev/zero never end.
_MOST_BYTES = 4 << 20

_STRING, _INTEGER, _FLOAT, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "merge"))
_OCTAL = re.compile(r"[-+]?0[0-7_]+")


def read_yaml_file(file: Path) -> Any:
    """The content of a YAML file; None if it is empty.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8 or not YAML.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}, line {line}: not text in UTF-8; save the file in that encoding") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{_shown(file)}: cannot be read ({reason}); expected a YAML file") from None
    except ValueError:
        raise ConfigError(f"{_shown(file)}: the path holds a NUL byte; name a YAML file") from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{_shown(file)}: more than {_MOST_BYTES >> 20} MB; expected an experiment file or the like")
    return parse_yaml(text, str(file))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Args:
        text: YAML.
        where: Begins the message of an error.

    Raises:
        ConfigError: It is no YAML, holds a value that no experiment has, is nested too deeply, or a part of it has a
            meaning that nobody intends.
    """
    check_limits(text, where)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, "", where, set())
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{where}{place}: not valid YAML, {reason}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{where}, line {line}: not valid YAML, the character #x{error.character:04x} is not allowed"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML, {error}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's without dates, with a line for values that Python cannot hold."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError) as error:
            # An integer of thousands of digits, or what a tag calls a date and is none.
            reason = "a number of more than 4,300 digits" if "digits" in str(error) else f"a wrong value: {error}"
            raise yaml.constructor.ConstructorError(
                None, None, f"{reason}; put it in quotes if it is a text", node.start_mark
            ) from None


def _shown(file: Path) -> str:
    return str(file) if len(str(file)) <= 200 else f"{str(file)[:60]}..."


def _check(node: yaml.Node, path: str, where: str, seen: set[int]) -> None:
    """Checks a node and all below it; `path` is the dotted key that leads there."""
    # An anchor may be named many times.
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        _check_number(node, path, where)
    elif isinstance(node, yaml.SequenceNode):
        for element in node.value:
            _check(element, path, where, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if key.tag != _MERGE:
                name = _name(key, path, where)
                inner = f"{path}.{name}" if path else name
                if name in lines:
                    raise ConfigError(
                        f"{_line(key, where)}: {inner} stands twice, first in line {lines[name]}; a section has each "
                        "key once. Remove one"
                    )
                lines[name] = key.start_mark.line + 1
                _check(value, inner, where, seen)
            else:
                _check(value, path, where, seen)


def _name(key: yaml.Node, path: str, where: str) -> str:
    """The text of a key."""
    section = f" in section {path}" if path else ""
    if not isinstance(key, yaml.ScalarNode):
        raise ConfigError(f"{_line(key, where)}: a key{section} is a list or a section; expected a name")
    if key.tag != _STRING:
        kind = key.tag.rsplit(":", 1)[-1]
        raise ConfigError(
            f"{_line(key, where)}: YAML reads the key {key.value!r}{section} as {kind}, and a name is expected; put it "
            "in quotes"
        )
    return key.value


def _check_number(node: yaml.ScalarNode, path: str, where: str) -> None:
    named = f"{path}: " if path else ""
    if node.tag == _INTEGER and _OCTAL.fullmatch(node.value):
        value = int(node.value.replace("_", ""), 8)
        raise ConfigError(
            f"{_line(node, where)}: {named}YAML reads {node.value} as the octal number {value}; expected a decimal "
            f"number, found one with a leading zero. Write it without the zero, or put it in quotes if it is a text"
        )
    if node.tag in (_INTEGER, _FLOAT) and ":" in node.value:
        raise ConfigError(
            f"{_line(node, where)}: {named}YAML reads {node.value} as a number in base 60; expected a decimal number, "
            "found one with colons. Put it in quotes if it is a text"
        )


def _line(node: yaml.Node, where: str) -> str:
    return f"{where}, line {node.start_mark.line + 1}"
