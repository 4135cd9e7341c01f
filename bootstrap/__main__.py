"""Makes `.venv`: checks the host, installs the locked packages, adjusts two modules on older hosts."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

from bootstrap.symbol_versions import UnknownFile, adjust_modules
from pipeline.host import Host, UnsupportedHost, check, this_host

PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENT = PROJECT / ".venv"
STAMP = ENVIRONMENT / "ready"
_NEEDED_BYTES = 6 << 30


class SetupFailed(Exception):
    """A step of the set-up failed; the message says how to go on."""


def main() -> int:
    """Makes the environment unless it is there already; returns the exit code."""
    try:
        host = this_host()
        check(host)
        wanted = _fingerprint(host)
        if STAMP.is_file() and STAMP.read_text() == wanted:
            return 0
        started = time.monotonic()
        STAMP.unlink(missing_ok=True)
        _make_environment()
        _adjust(host)
        STAMP.write_text(wanted)
        print(f"environment ready in {time.monotonic() - started:.0f} s", flush=True)
    except (UnsupportedHost, SetupFailed, UnknownFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _fingerprint(host: Host) -> str:
    """Changes when the environment must be made anew; its scripts hold its path, its modules suit one glibc."""
    digest = hashlib.sha256(f"{sys.version} {host.glibc} {ENVIRONMENT}".encode())
    for path in [
        PROJECT / "uv.lock",
        PROJECT / "pyproject.toml",
        PROJECT / "pipeline" / "host.py",
        *sorted(Path(__file__).parent.glob("*.py")),
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_environment() -> None:
    python = ENVIRONMENT / "bin" / "python"
    is_new = not _has_pip(python)
    free = shutil.disk_usage(PROJECT).free
    if is_new and free < _NEEDED_BYTES:
        raise SetupFailed(
            f"the packages need about {_NEEDED_BYTES >> 30} GB and {PROJECT} has {free / (1 << 30):.1f} GB free"
        )
    print("making the project's environment in .venv: about 3 GB, half a minute to some minutes", flush=True)
    if is_new:
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    _run("installing uv", [python, "-m", "pip", "install", "--quiet", f"uv=={_locked_version('uv')}"])
    # The platform is named because two wheels claim a newer glibc than they need.
    sync = ["sync", "--frozen", "--python-platform", "x86_64-manylinux_2_39", "--compile-bytecode"]
    _run("installing the locked packages", [ENVIRONMENT / "bin" / "uv", *sync, "--python", python])


def _has_pip(python: Path) -> bool:
    """False too for what an interrupted call left, and when the interpreter that it was made with is gone."""
    return python.is_file() and not subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode


def _adjust(host: Host) -> None:
    site_packages = ENVIRONMENT / "lib" / "python3.11" / "site-packages"
    for path in adjust_modules(site_packages, host.glibc):
        version = ".".join(map(str, host.glibc))
        print(f"adjusted symbol versions of {path.name}, so that it loads with glibc {version}", flush=True)


def _locked_version(package: str) -> str:
    lock = tomllib.loads((PROJECT / "uv.lock").read_text())
    (version,) = [entry["version"] for entry in lock["package"] if entry["name"] == package]
    return version


def _run(what: str, command: list[str | Path]) -> None:
    print(what, flush=True)
    # Without bytecode on disk every process compiles TensorFlow, Beam and TFX again, for some twenty seconds.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment.pop("VIRTUAL_ENV", None)
    process = subprocess.run(command, cwd=PROJECT, env=environment)
    if process.returncode:
        raise SetupFailed(
            f"{what} failed (exit code {process.returncode}); the lines above say why. If the package index cannot be "
            "reached, check the network and pip's configuration, then run the same command again: what is already "
            "there is kept."
        )


if __name__ == "__main__":
    sys.exit(main())
