"""Searches a compiled job for secrets and for names of the machine that compiled it."""

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

# An absolute path. In a URL or a type, the slash follows a word or another slash.
_ABSOLUTE_PATH = re.compile(r"(?<![\w./}>*-])(?:file://)?(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\\w+|(?<![\w/])~/[\w.-]+")

_SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an API key of Google": re.compile(r"AIza[\w-]{35}"),
    "an access token of Google": re.compile(r"ya29\.[\w-]{20,}"),
    "a service account's key": re.compile(r'"?private_key(_id)?"?\s*:'),
    "a password in a URL": re.compile(r"\w+://[^/\s:@]+:[^/\s@]+@"),
}

# Names of hosts and users that identify no machine and are likely words of a pipeline.
_COMMON_NAMES = {"root", "user", "admin", "app", "ubuntu", "runner", "build", "localhost", "nobody", "test"}
_MIN_NAME_LENGTH = 4


@dataclass(frozen=True)
class Machine:
    """Names of the compiling machine that a job must not contain.

    Attributes:
        names: Names of the user and of the host.
        directories: Home, current directory, and directories of the product, of Python and of temporary files.
    """

    names: frozenset[str]
    directories: frozenset[str]

    @classmethod
    def this(cls) -> "Machine":
        """Describes the machine of this process."""
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
            names=frozenset(name for name in names if len(name) >= _MIN_NAME_LENGTH and name not in _COMMON_NAMES),
            directories=frozenset(str(path) for path in directories if len(path.parts) > 1),
        )


def check_portable(job: Mapping[str, Any], machine: Machine | None = None) -> None:
    """Refuses a job that names the compiling machine or contains a secret.

    Args:
        job: Job as JSON. Strings that are JSON themselves are searched too.
        machine: The compiling machine; None means this one.

    Raises:
        ConfigError: The job contains such a text; the message says which, where, and what to do.
    """
    machine = machine or Machine.this()
    for place, text in _strings("", job):
        for secret, pattern in _SECRETS.items():
            if pattern.search(text):
                raise ConfigError(
                    f"the compiled pipeline would hold {secret} at {place}. Remove it from the experiment file: on "
                    "Vertex AI, the service account (vertex.service_account) grants access"
                )
        paths = [path for path in machine.directories if path + os.sep in text + os.sep]
        # A text in SQL that looks like a path is one of a web site, or no path at all. A command that starts Beam's
        # workers is on their machines.
        is_elsewhere = place.endswith(".query") or text.startswith("--environment_config=")
        if not is_elsewhere and (match := _ABSOLUTE_PATH.search(text)):
            paths.append(match.group())
        if paths:
            path = max(paths, key=len)
            raise ConfigError(
                f"the compiled pipeline would name {path} of this machine at {place}. No container has this path; use "
                "a URI such as gs://my-bucket/folder instead"
            )
        for name in sorted(machine.names):
            # Dotted paths do not count, because a machine may have a name such as trainer.
            if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text):
                raise ConfigError(
                    f"the compiled pipeline would name {name!r}, this machine's host or user, at {place}. Use another "
                    "name in the experiment file"
                )


def _strings(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields all strings in a value with their places. A string that is JSON yields the strings in that JSON."""
    if isinstance(value, Mapping):
        for key, inner in sorted(value.items()):
            yield from _strings(f"{place}.{key}" if place else str(key), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(f"{place}[{number}]", inner)
    elif isinstance(value, str):
        inner = _parsed_json(value)
        if inner is None:
            yield place, value
        else:
            yield from _strings(place, inner)


def _parsed_json(text: str) -> Any:
    """Returns the object or list that a string holds as JSON, or None."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
