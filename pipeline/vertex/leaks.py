"""Looks in a compiled job for what belongs to the machine that compiled it, and for secrets."""

import getpass
import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_module.errors import ConfigError

# A path from the root of a file system: not the path of a URL or of a type, whose slash follows a word or a slash.
_ABSOLUTE_PATH = re.compile(r"(?<![\w./}>*-])(?:file://)?(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\\w+|(?<![\w/])~/[\w.-]+")

_SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an API key of Google": re.compile(r"AIza[\w-]{35}"),
    "an access token of Google": re.compile(r"ya29\.[\w-]{20,}"),
    "a service account's key": re.compile(r'"?private_key(_id)?"?\s*:'),
    "a password in a URL": re.compile(r"\w+://[^/\s:@]+:[^/\s@]+@"),
}

# Names that are those of too many machines and users to tell of one, and too likely to be words of a spec.
_COMMON_NAMES = {"root", "user", "admin", "app", "ubuntu", "runner", "build", "localhost", "nobody", "test"}
_SHORTEST_NAME = 4


@dataclass(frozen=True)
class Machine:
    """What a job must not tell of the machine that compiled it.

    Attributes:
        names: Of users and hosts.
        directories: Of the home, of the work at hand, of the product and of Python.
    """

    names: frozenset[str]
    directories: frozenset[str]

    @classmethod
    def this(cls) -> "Machine":
        """The machine of this process."""
        host = socket.gethostname()
        names = {host, host.partition(".")[0], getpass.getuser()}
        directories = {
            Path.home(),
            Path.cwd(),
            Path(__file__).parents[2],
            Path(sys.prefix),
            Path(tempfile.gettempdir()),
        }
        return cls(
            names=frozenset(name for name in names if len(name) >= _SHORTEST_NAME and name not in _COMMON_NAMES),
            directories=frozenset(str(path) for path in directories if len(path.parts) > 1),
        )


def check_portable(job: Mapping[str, Any], machine: Machine | None = None) -> None:
    """Refuses a job that names the compiling machine or holds a secret.

    Args:
        job: As JSON; JSON within its strings is looked into as well.
        machine: By default this one.

    Raises:
        ConfigError: Names what was found, where it stands in the job, and what to do.
    """
    machine = machine or Machine.this()
    for place, text in _texts("", job):
        for what, pattern in _SECRETS.items():
            if pattern.search(text):
                raise ConfigError(
                    f"the compiled pipeline would hold {what} at {place}. Remove it from the experiment file: on "
                    "Vertex AI, the service account (vertex.service_account) grants access"
                )
        paths = [path for path in machine.directories if path + os.sep in text + os.sep]
        if match := _ABSOLUTE_PATH.search(text):
            paths.append(match.group())
        if paths:
            path = max(paths, key=len)
            raise ConfigError(
                f"the compiled pipeline would name {path} of this machine at {place}. No container has this path; use "
                "a URI such as gs://my-bucket/folder instead"
            )
        for name in sorted(machine.names):
            # Not within a dotted path: a machine may well be called trainer.
            if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text):
                raise ConfigError(
                    f"the compiled pipeline would name {name!r}, this machine's host or user, at {place}. Use another "
                    "name in the experiment file"
                )


def _texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """All strings below a value with their places; a string that is JSON counts as what it holds."""
    if isinstance(value, Mapping):
        for key, inner in sorted(value.items()):
            yield from _texts(f"{place}.{key}" if place else str(key), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(f"{place}[{number}]", inner)
    elif isinstance(value, str):
        inner = _json(value)
        if inner is None:
            yield place, value
        else:
            yield from _texts(place, inner)


def _json(text: str) -> Any:
    """What a string holds as JSON, if that is an object or a list."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
