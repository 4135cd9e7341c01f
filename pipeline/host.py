"""Describes this machine and checks that the product can run on it."""

import os
import platform
import sys
from dataclasses import dataclass


class UnsupportedHost(Exception):
    """The product cannot run here; the message says why and what to do instead."""


@dataclass(frozen=True)
class Host:
    """Properties of a machine that decide whether the product can run.

    Attributes:
        system: `sys.platform`.
        machine: `platform.machine()`.
        implementation: `platform.python_implementation()`.
        python: Major and minor version of Python.
        glibc: Version of the GNU C library; None if the host uses another C library.
    """

    system: str
    machine: str
    implementation: str
    python: tuple[int, int]
    glibc: tuple[int, int] | None


def this_host() -> Host:
    """Describes the machine that this process runs on."""
    return Host(
        sys.platform,
        platform.machine(),
        platform.python_implementation(),
        sys.version_info[:2],
        _glibc(),
    )


def check(host: Host) -> None:
    """Checks that wheels of all pinned packages exist for the host.

    Raises:
        UnsupportedHost: Some wheel does not exist for the host.
    """
    if (host.system, host.machine) != ("linux", "x86_64"):
        raise UnsupportedHost(
            f"Recspan needs Linux on x86-64 and this is {host.system} on {host.machine}: "
            "TFX publishes no packages for it. Use a Linux virtual machine or container, such as Ubuntu 24.04."
        )
    if host.implementation != "CPython" or host.python != (3, 11):
        version = ".".join(map(str, host.python))
        raise UnsupportedHost(
            f"Recspan needs CPython 3.11 and this is {host.implementation} {version}: TFX with kfp supports no newer "
            "one. Install Python 3.11 and name it, as in `make demo PYTHON=/path/to/python3.11`."
        )
    if host.glibc is None or host.glibc < (2, 34):
        found = "another C library" if host.glibc is None else "glibc " + ".".join(map(str, host.glibc))
        raise UnsupportedHost(
            f"Recspan needs glibc 2.34 or newer and this host has {found}: TensorFlow Data Validation does not load on "
            "it. Use Debian 12, Ubuntu 22.04 or newer, for instance in a container."
        )


def _glibc() -> tuple[int, int] | None:
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return None
    name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    if not name.startswith("glibc "):
        return None
    major, minor = name.removeprefix("glibc ").split(".")[:2]
    return int(major), int(minor)
