"""Damages disks, files and surroundings; each fault begins with the root of a finished run."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.robustness.fault_check.kills import compare
from tests.robustness.fault_check.site import Ended, Result, Running, Site

Fault = Callable[[Site, Result], str]
NOT_CHECKED = "not checked: "


def _refused(ended: Ended, *words: str) -> str:
    """What is wrong with a run that should have been refused in a sentence with some words; empty if nothing is."""
    if ended.code != 1:
        return f"exit code {ended.code} in place of 1"
    if missing := [word for word in words if word not in ended.errors]:
        return f"the message lacks {missing}: {ended.errors.strip()[:300]}"
    return "a traceback" if "Traceback" in ended.errors else ""


def _mended(site: Site, reference: Result) -> str:
    """What is wrong with a run of the same command that should predict as the reference; empty if nothing is."""
    ended = site.run()
    if ended.code:
        return f"exit code {ended.code}: {ended.errors.strip()[-300:]}"
    newest = max(site.pushed(), key=int)
    for version in site.pushed():
        if version != newest:
            shutil.rmtree(site.root / "serving" / "small" / version)
    return "" if site.result().predictions == reference.predictions else "predictions differ"


@contextmanager
def _mounted(directory: Path, options: str) -> Iterator[None]:
    """An empty file system in memory at a directory."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def full_disk(site: Site, reference: Result) -> str:
    """The disk gets full in the middle of a run; with more room the same command goes on."""
    needed = sum(file.stat().st_size for file in site.root.rglob("*") if file.is_file())
    site.restore(None)
    try:
        with _mounted(site.root, f"size={needed // 2}"):
            found = _refused(site.run(), "space")
            subprocess.run(["mount", "-o", "remount,size=1g", site.root], check=True)
            return found or compare(site, site.run(), reference)
    except subprocess.CalledProcessError:
        return NOT_CHECKED + "this user may not mount a file system"


def read_only_root(site: Site, reference: Result) -> str:
    """The root cannot be written."""
    site.restore(None)
    try:
        with _mounted(site.root, "size=1m,ro"):
            return _refused(site.run(), "--root", str(site.root), "ead-only")
    except subprocess.CalledProcessError:
        return NOT_CHECKED + "this user may not mount a file system"


def damaged_metadata(site: Site, reference: Result) -> str:
    """The metadata store is cut in half; without it the next run begins anew."""
    metadata = site.root / "metadata.sqlite"
    os.truncate(metadata, metadata.stat().st_size // 2)
    if found := _refused(site.run(), "metadata.sqlite", "Move the file away"):
        return found
    metadata.unlink()
    return _mended(site, reference)


def _damaged_artifact(output: str, damage: Callable[[Path], None]) -> Fault:
    def fault(site: Site, reference: Result) -> str:
        (artifact,) = (site.root / "artifacts" / "small").glob(output)
        damage(artifact)
        return _mended(site, reference)

    return fault


def _delete(artifact: Path) -> None:
    for file in artifact.rglob("*"):
        if file.is_file():
            file.unlink()


def _truncate(artifact: Path) -> None:
    largest = max((file for file in artifact.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def _damaged_version(damage: Callable[[Path], None]) -> Fault:
    def fault(site: Site, reference: Result) -> str:
        damage(site.root / "serving" / "small" / "1")
        return _mended(site, reference)

    return fault


def truncated_checkpoint(site: Site, reference: Result) -> str:
    """A run is killed in training, and its newest checkpoint is cut in half."""
    site.restore(None)
    checkpoints = site.root / "checkpoints" / "small"

    def kill(running: Running) -> None:
        running.wait_until(lambda: any(checkpoints.glob("*/checkpoint")))
        running.process.kill()

    site.run(stop=kill)
    files = list(checkpoints.glob("*/*.data-*"))
    if not files:
        return "no checkpoint was written"
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    os.truncate(newest, newest.stat().st_size // 2)
    if found := _refused(site.run(), str(newest.parent), "the checkpoint is damaged", "Remove"):
        return found
    shutil.rmtree(newest.parent)
    return compare(site, site.run(), reference)


def two_runs_at_once(site: Site, reference: Result) -> str:
    """A second run in the same root is refused, and the first one is not disturbed."""
    site.restore(None)
    second: list[Ended] = []

    def start(running: Running) -> None:
        running.wait_for("StatisticsGen ...")
        second.append(site.run())

    first = site.run(stop=start)
    return _refused(second[0], "another run is using it") or compare(site, first, reference)


def _asked_to_stop(number: signal.Signals, component: str, code: int, seconds: float) -> Fault:
    def fault(site: Site, reference: Result) -> str:
        site.restore(None)

        def stop(running: Running) -> None:
            running.wait_for(f"{component} ...")
            time.sleep(seconds)
            running.process.send_signal(number)

        ended = site.run(stop=stop)
        if ended.code != code or "the same command goes on" not in ended.errors or "Traceback" in ended.errors:
            return f"exit code {ended.code}: {ended.errors.strip()[-300:]}"
        if orphans := _processes_below(site.directory):
            return f"left running: {orphans}"
        return compare(site, site.run(), reference)

    return fault


def _processes_below(directory: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        if str(process.info["cwd"]).startswith(str(directory)):
            found.append(" ".join(process.info["cmdline"] or []))
    return found


def without_network(site: Site, reference: Result) -> str:
    """A whole run in a network namespace that has not even a loopback device up."""
    site.restore(None)
    ended = site.run(prefix=("unshare", "-n"))
    if "unshare" in ended.errors and ended.code:
        return NOT_CHECKED + "this user may not make a network namespace"
    (log,) = (site.root / "runs").glob("*/log.txt")
    found = [word for word in ("prism", "urlopen", "http://", "https://github") if word in log.read_text().lower()]
    return f"the log holds {found}" if found else compare(site, ended, reference)


def _around(environment: Mapping[str, str] = {}, redirect: str = "") -> Fault:
    """Surroundings that must not matter: the same command is answered from the cache."""

    def fault(site: Site, reference: Result) -> str:
        variables = {name: value.format(site=site.directory) for name, value in environment.items()}
        ended = site.run(environment=variables, prefix=("bash", "-c", f'"$@" {redirect}', "bash") if redirect else ())
        return compare(site, ended, reference)

    return fault


def _root(name: str) -> Fault:
    """A whole run in a root of another name."""

    def fault(site: Site, reference: Result) -> str:
        other = site.directory / name
        ended = site.run(root=other, environment={"XDG_STATE_HOME": str(site.directory / "state")})
        if ended.code:
            return f"exit code {ended.code}: {ended.errors.strip()[-300:]}"
        site.restore(None)
        other.rename(site.root)
        return "" if site.result().predictions == reference.predictions else "predictions differ"

    return fault


FAULTS: dict[str, Fault] = {
    "full disk": full_disk,
    "read-only root": read_only_root,
    "metadata store cut in half": damaged_metadata,
    "examples deleted": _damaged_artifact("ExampleGen/examples/*", _delete),
    "examples cut": _damaged_artifact("ExampleGen/examples/*", _truncate),
    "transform graph deleted": _damaged_artifact("Transform/transform_graph/*", _delete),
    "transform graph cut": _damaged_artifact("Transform/transform_graph/*", _truncate),
    "model deleted": _damaged_artifact("Trainer/model/*", _delete),
    "model cut": _damaged_artifact("Trainer/model/*", _truncate),
    "pushed version deleted": _damaged_version(shutil.rmtree),
    "pushed version cut": _damaged_version(_truncate),
    "checkpoint cut": truncated_checkpoint,
    "two runs at once": two_runs_at_once,
    "SIGTERM in StatisticsGen": _asked_to_stop(signal.SIGTERM, "StatisticsGen", 75, 1),
    "Ctrl-C in Transform": _asked_to_stop(signal.SIGINT, "Transform", 130, 1),
    "SIGTERM in the Evaluator": _asked_to_stop(signal.SIGTERM, "Evaluator", 75, 1),
    "Ctrl-C in the Pusher": _asked_to_stop(signal.SIGINT, "Pusher", 130, 0.3),
    "no network": without_network,
    "TMPDIR that is not there": _around({"TMPDIR": "{site}/nowhere"}),
    "HOME that is not there": _around({"HOME": "/nowhere"}),
    "LANG=C": _around({"LANG": "C", "LC_ALL": "C"}),
    "LANG that is not there": _around({"LANG": "xx_YY.latin", "LC_ALL": "xx_YY.latin"}),
    "stdout in Latin-1": _around({"PYTHONIOENCODING": "latin-1"}),
    "no terminal, TERM unset": _around({"TERM": ""}),
    "stdout closed": _around(redirect=">&-"),
    "all streams closed": _around(redirect="<&- >&- 2>&-"),
    "stdout to a reader that has gone": _around(redirect="> >(exec true)"),
    "stdout full": _around(redirect="> /dev/full"),
    "root with spaces, quotes and other letters": _root("rüns 'a' \"b\", #1 %41 @2 {x} ~ 数"),
    "root with wildcards": _root("runs[v1] *?"),
}
