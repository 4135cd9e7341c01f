"""Reads YAML as people mean it: what YAML 1.1 reads as something else is refused, with its line.

A key that stands twice, a number with a leading zero (octal) or with colons (base 60), and a key that is no text have a
meaning in YAML 1.1 that nobody intends in an experiment file. Dates stay texts.
"""

import re
from typing import Any

import yaml

from trainer_module.errors import ConfigError

_STRING, _INTEGER, _FLOAT, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "merge"))
_OCTAL = re.compile(r"[-+]?0[0-7_]+")


class _Loader(yaml.SafeLoader):
    """YAML without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: str, where: str) -> Any:
    """Parses a YAML document.

    Args:
        text: One document; empty is None.
        where: Names its source, such as a file; begins the message.

    Raises:
        ConfigError: It is not valid YAML, or a part of it has a meaning that nobody intends. Names line and key.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, "", where, set())
        return loader.construct_document(root)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from None
    finally:
        loader.dispose()


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
