"""Creates an environment: checks the host, installs the locked packages, adjusts two modules on older hosts.

`python -m bootstrap` creates `.venv`, `python -m bootstrap tpu_worker` creates `.venv-tpu`.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

from bootstrap.symbol_versions import UnknownFile, adjust_modules
from pipeline.host import Host, UnsupportedHost, check, this_host

PROJECT = Path(__file__).resolve().parent.parent
_NEEDED_BYTES = 6 << 30
_PACKAGES = ("bootstrap", "components", "pipeline", "schema", "trainer_module")


@dataclass(frozen=True)
class Environment:
    """A virtual environment and its lock file.

    Attributes:
        locked: Directory of `pyproject.toml` and `uv.lock`, relative to the project.
        directory: Directory of the environment, relative to the project.
    """

    locked: str
    directory: str

    @property
    def path(self) -> Path:
        return PROJECT / self.directory

    @property
    def stamp(self) -> Path:
        """File that exists if the environment is complete. It holds the fingerprint."""
        return self.path / "ready"


ENVIRONMENTS = {
    "product": Environment(locked=".", directory=".venv"),
    # This environment has TensorFlow's TPU build instead of TensorFlow.
    "tpu_worker": Environment(locked="tpu_worker", directory=".venv-tpu"),
}


class SetupFailed(Exception):
    """A step of the set-up failed; the message says how to continue."""


def main(arguments: list[str] | None = None) -> int:
    """Creates the environment unless it is up to date; returns the exit code.

    Args:
        arguments: Command-line arguments; None means those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m bootstrap", description="Create a project-local environment.")
    parser.add_argument("environment", nargs="?", choices=[*ENVIRONMENTS], default="product")
    environment = ENVIRONMENTS[parser.parse_args(arguments).environment]
    try:
        host = this_host()
        check(host)
        wanted = _fingerprint(environment, host)
        if environment.stamp.is_file() and environment.stamp.read_text() == wanted:
            return 0
        started = time.monotonic()
        environment.stamp.unlink(missing_ok=True)
        _make(environment)
        _adjust(environment, host)
        environment.stamp.write_text(wanted)
        print(f"environment ready in {time.monotonic() - started:.0f} s", flush=True)
    except (UnsupportedHost, SetupFailed, UnknownFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _fingerprint(environment: Environment, host: Host) -> str:
    """Returns a hash that changes when the environment must be created again.

    The hash includes path and glibc, because scripts contain the path and adjusted modules fit one glibc.
    """
    digest = hashlib.sha256(f"{sys.version} {host.glibc} {environment.path}".encode())
    for path in [
        PROJECT / "pyproject.toml",
        PROJECT / environment.locked / "uv.lock",
        PROJECT / environment.locked / "pyproject.toml",
        PROJECT / "pipeline" / "host.py",
        *sorted(Path(__file__).parent.glob("*.py")),
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make(environment: Environment) -> None:
    python = environment.path / "bin" / "python"
    is_new = not _has_pip(python)
    free = shutil.disk_usage(PROJECT).free
    if is_new and free < _NEEDED_BYTES:
        raise SetupFailed(
            f"the packages need about {_NEEDED_BYTES >> 30} GB and {PROJECT} has {free / (1 << 30):.1f} GB free"
        )
    print(f"creating the environment {environment.directory}: about 3 GB, half a minute to some minutes", flush=True)
    if is_new:
        venv.create(environment.path, with_pip=True, clear=True)
    uv = f"uv=={_locked_version(environment, 'uv')}"
    _run(environment, "installing uv", [python, "-m", "pip", "install", "--quiet", uv])
    # Without this option, uv refuses two wheels that claim a newer glibc than they need.
    sync = ["sync", "--frozen", "--python-platform", "x86_64-manylinux_2_39", "--compile-bytecode"]
    command = [environment.path / "bin" / "uv", *sync, "--project", environment.locked, "--python", python]
    _run(environment, "installing the locked packages", command)
    # A shell that forbids bytecode would otherwise have every process compile the product again, for a second.
    compiling = [python, "-m", "compileall", "-q", *_PACKAGES]
    _run(environment, "compiling the product", compiling)


def _has_pip(python: Path) -> bool:
    """Returns whether the environment has a working pip. An incomplete or broken environment has none."""
    return python.is_file() and not subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode


def _adjust(environment: Environment, host: Host) -> None:
    site_packages = environment.path / "lib" / "python3.11" / "site-packages"
    for path in adjust_modules(site_packages, host.glibc):
        version = ".".join(map(str, host.glibc))
        print(f"adjusted symbol versions of {path.name}, so that it loads with glibc {version}", flush=True)


def _locked_version(environment: Environment, package: str) -> str:
    lock = tomllib.loads((PROJECT / environment.locked / "uv.lock").read_text())
    (version,) = [entry["version"] for entry in lock["package"] if entry["name"] == package]
    return version


def _run(environment: Environment, what: str, command: list[str | Path]) -> None:
    print(what, flush=True)
    # Without bytecode on disk, every process spends some twenty seconds compiling TensorFlow, Beam and TFX.
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    variables.pop("VIRTUAL_ENV", None)
    variables["UV_PROJECT_ENVIRONMENT"] = str(environment.path)
    process = subprocess.run(command, cwd=PROJECT, env=variables)
    if process.returncode:
        raise SetupFailed(
            f"{what} failed (exit code {process.returncode}); see the lines above. If the package index is not "
            "reachable, check the network and pip's configuration. Then run the same command again; it keeps what is "
            "installed already."
        )


if __name__ == "__main__":
    sys.exit(main())
