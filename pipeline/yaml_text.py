"""Reads YAML; whatever is wrong with it becomes one sentence with its line."""

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.yaml_limits import check_limits
from trainer_module.errors import ConfigError

# Devices such as /dev/zero never end.
_MOST_BYTES = 4 << 20
_DEEPEST = 100


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
        ConfigError: It is no YAML, holds a value that no experiment has, or is nested too deeply.
    """
    check_limits(text, where)
    # PyYAML would take seconds before it gives up.
    if _depth(text) > _DEEPEST:
        raise ConfigError(f"{where}: nested too deeply; expected a few levels of keys and lists")
    try:
        return yaml.load(text, _Loader)
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
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply; expected a few levels of keys and lists") from None


def _depth(text: str) -> int:
    """How deeply brackets are nested; those in quotes count too, since no experiment holds so many."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        deepest = max(deepest, depth)
    return deepest


class _Loader(yaml.SafeLoader):
    """PyYAML's, with a line for values that Python cannot hold."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError) as error:
            # A date such as 2020-13-45, an integer of thousands of digits, or a text that a tag calls a date.
            reason = "a number of more than 4,300 digits" if "digits" in str(error) else f"a wrong value: {error}"
            raise yaml.constructor.ConstructorError(
                None, None, f"{reason}; put it in quotes if it is a text", node.start_mark
            ) from None


def _shown(file: Path) -> str:
    return str(file) if len(str(file)) <= 200 else f"{str(file)[:60]}..."
