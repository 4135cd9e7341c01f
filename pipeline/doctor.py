"""Checks that a machine and its environment can run the product.

This process reads only the metadata of packages. A child process loads the native modules, so that a crash of a module
becomes a failed check.
"""

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import host
from trainer_module import KERAS_SWITCH

Status = Literal["pass", "fail", "info"]

LOCK_FILE = Path(__file__).resolve().parent.parent / "uv.lock"
NATIVE_MODULES = (
    "tensorflow",
    "tensorflow_recommenders",
    "tensorflow_data_validation",
    "ml_metadata",
    "tfx_bsl",
    "tfx.v1",
)

_PACKAGE = "recspan"
_REINSTALL = "remove .venv, then run `make setup`"
_GIB = 1 << 30
_MIN_FREE_DISK = 2 * _GIB
_MIN_MEMORY = 4 * _GIB
# For all modules: ten seconds on an idle machine, minutes where many processes share two cores.
_LOAD_SECONDS = 600

_STYLES = {"pass": "green", "fail": "bold red", "info": "cyan"}

# Marks the loader's own lines, because modules may print while they load.
_MARK = "recspan-doctor "

# Loads the modules that the arguments name and prints one line of JSON for each.
# TensorFlow loads Keras at its first use, so the loader uses it.
_LOADER = f"""
import importlib, json, sys
import trainer_module
def report(**fields):
    print("\\n{_MARK}" + json.dumps(fields), flush=True)
def tensorflow_facts(tf):
    return dict(keras=tf.keras.Model.__module__, devices=[device.name for device in tf.config.list_physical_devices()])
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        facts = tensorflow_facts(module) if name == "tensorflow" else {{}}
    except (Exception, SystemExit) as error:
        report(module=name, error=f"{{type(error).__name__}}: {{error}}")
    else:
        report(module=name, error=None, **facts)
"""


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Attributes:
        name: Subject of the check.
        found: Actual value.
        expected: Expected value.
        status: Result; `info` never fails.
        fix: Advice for a failure.
    """

    name: str
    found: str
    expected: str
    status: Status
    fix: str = ""


def run_checks() -> list[Check]:
    """Runs all checks. This takes as long as importing TensorFlow and TFX."""
    return [
        check_host(host.this_host()),
        *check_packages(expected_versions(LOCK_FILE)),
        check_other_packages(locked_versions(LOCK_FILE)),
        check_absent("scann", "it does not load beside TensorFlow 2.21 and breaks tensorflow-recommenders"),
        *check_native_modules(NATIVE_MODULES),
        check_amount("free disk", shutil.disk_usage(Path.cwd()).free, _MIN_FREE_DISK, "runs and models need room"),
        check_amount("memory", psutil.virtual_memory().total, _MIN_MEMORY, "use a larger machine"),
    ]


def print_report(checks: list[Check], console: Console) -> bool:
    """Prints the table; returns whether nothing failed."""
    table = Table()
    for column in ("check", "found", "expected", "", "fix"):
        table.add_column(column, overflow="fold")
    for check in checks:
        status = f"[{_STYLES[check.status]}]{check.status}[/]"
        fix = check.fix if check.status == "fail" else ""
        table.add_row(escape(check.name), escape(check.found), escape(check.expected), status, escape(fix))
    console.print(table)
    failures = sum(check.status == "fail" for check in checks)
    console.print(f"{failures} failure(s)" if failures else "all pass")
    return not failures


def check_host(this: host.Host) -> Check:
    """Checks platform, Python and C library by the same rule as the set-up."""
    glibc = "no glibc" if this.glibc is None else "glibc " + ".".join(map(str, this.glibc))
    python = ".".join(map(str, this.python))
    found = f"{this.system} {this.machine}, {this.implementation} {python}, {glibc}"
    expected = "linux x86_64, CPython 3.11, glibc >= 2.34"
    try:
        host.check(this)
    except host.UnsupportedHost as error:
        return Check("host", found, expected, "fail", str(error))
    return Check("host", found, expected, "pass")


def expected_versions(lock_file: Path) -> dict[str, str]:
    """Returns the version specifier by direct dependency, from the lock file or else from the package's metadata."""
    if not lock_file.is_file():
        requirements = map(Requirement, metadata.requires(_PACKAGE) or [])
        return {requirement.name: str(requirement.specifier) for requirement in requirements}
    packages = tomllib.loads(lock_file.read_text())["package"]
    (own,) = [package for package in packages if package["name"] == _PACKAGE]
    direct = {dependency["name"] for dependency in own["dependencies"]}
    return {package["name"]: f"=={package['version']}" for package in packages if package["name"] in direct}


def locked_versions(lock_file: Path) -> dict[str, str]:
    """Returns the version by package for all packages in the lock file; empty without a lock file."""
    if not lock_file.is_file():
        return {}
    packages = tomllib.loads(lock_file.read_text())["package"]
    return {package["name"]: package["version"] for package in packages if package["name"] != _PACKAGE}


def check_other_packages(locked: dict[str, str]) -> Check:
    """Checks that installed packages have their locked versions.

    Missing packages do not count, because they may be development tools.
    """
    found = {name: version for name in locked if (version := _installed_version(name))}
    wrong = [f"{name} {version}" for name, version in found.items() if version != locked[name]]
    status = "fail" if wrong else "pass"
    return Check("all locked packages", ", ".join(wrong) or f"{len(found)} as locked", "as locked", status, _REINSTALL)


def check_packages(expected: dict[str, str]) -> list[Check]:
    """Checks that each package is installed in a version that its specifier allows."""
    checks = []
    for name, specifier in sorted(expected.items()):
        version = _installed_version(name)
        if version is None:
            checks.append(Check(name, "not installed", specifier, "fail", _REINSTALL))
            continue
        fits = Requirement(f"{name}{specifier}").specifier.contains(version, prereleases=True)
        checks.append(Check(name, version, specifier, "pass" if fits else "fail", _REINSTALL))
    return checks


def check_absent(package: str, reason: str) -> Check:
    """Checks that a harmful package is not installed."""
    version = _installed_version(package)
    if version is None:
        return Check(package, "not installed", "not installed", "pass")
    return Check(package, version, "not installed", "fail", f"pip uninstall {package}: {reason}")


def check_native_modules(names: tuple[str, ...]) -> list[Check]:
    """Checks that modules load. For TensorFlow, also checks its Keras and lists its devices."""
    checks = []
    waiting = list(names)
    while waiting:
        report, end = _load(waiting)
        for line in report:
            waiting.remove(line["module"])
            checks.append(_loaded(line["module"], line["error"]))
            if "keras" in line:
                checks += [_keras(line["keras"]), _devices(line["devices"])]
        # The module that ended the loader is not tried again, so the loop ends.
        if waiting:
            checks.append(_loaded(waiting.pop(0), end))
    return checks


def check_amount(name: str, available: int, minimum: int, fix: str) -> Check:
    """Checks that an amount in bytes reaches a minimum."""
    status = "pass" if available >= minimum else "fail"
    return Check(name, f"{available / _GIB:.1f} GiB", f">= {minimum / _GIB:.0f} GiB", status, fix)


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _load(names: list[str]) -> tuple[list[dict], str]:
    """Runs the loader; returns its reports and how it ended."""
    try:
        process = subprocess.run(
            [sys.executable, "-c", _LOADER, *names], capture_output=True, text=True, timeout=_LOAD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        output = output.decode() if isinstance(output, bytes) else output
        return _reported(output), _too_slow()
    end = f"ended the process with exit code {process.returncode}"
    if process.returncode < 0:
        end = f"killed by signal {-process.returncode}"
    elif process.returncode and process.stderr.strip():
        end = process.stderr.strip().splitlines()[-1]
    return _reported(process.stdout), end


def _reported(output: str) -> list[dict]:
    return [json.loads(line.removeprefix(_MARK)) for line in output.splitlines() if line.startswith(_MARK)]


def _too_slow() -> str:
    return f"did not load within {_LOAD_SECONDS} s"


def _loaded(module: str, error: str | None) -> Check:
    fix = f"{_REINSTALL}; it also adjusts the two modules that want a newer glibc"
    if error == _too_slow():
        fix = f"run it again when the machine has less to do; if it still does not load, {fix}"
    return Check(f"import {module}", error or "loads", "loads", "fail" if error else "pass", fix)


def _keras(module: str) -> Check:
    package = module.split(".")[0]
    fits = package == "tf_keras"
    return Check("tf.keras", package, "tf_keras (Keras 2)", "pass" if fits else "fail", f"export {KERAS_SWITCH}=1")


def _devices(names: list[str]) -> Check:
    kinds = sorted(name.removeprefix("/physical_device:") for name in names)
    return Check("devices", ", ".join(kinds), "TPU or GPU for large models", "info")
