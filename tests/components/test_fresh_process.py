"""The process that verifies a model: started ahead, replaced if it ended, and gone with whoever started it."""

import subprocess
import sys
import time
from typing import Any

import pytest

from components.pusher import fresh_process

STAND_IN = """
import json, os, sys, time
paths = json.loads(sys.stdin.read() or "null")
if paths:
    while paths[0] == "slow" and not os.path.exists(paths[1]):
        time.sleep(0.05)
    open(paths[2], "w").write(json.dumps({"by": os.getpid()}))
    sys.exit("damaged" if paths[0] == "bad" else 0)
"""


@pytest.fixture(autouse=True)
def script(tmp_path, monkeypatch):
    """Takes the place of the verification, which imports TensorFlow."""
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    monkeypatch.setattr(fresh_process, "_SCRIPT", path)
    monkeypatch.setattr(fresh_process, "_waiting", [])
    monkeypatch.setattr(fresh_process, "_begun", {})


def test_a_process_started_ahead_does_the_work():
    fresh_process.prepare()
    fresh_process.prepare()
    (waiting,) = fresh_process._waiting
    outcome = fresh_process.run_verification("model", "parity")
    assert outcome == fresh_process.Outcome(0, "", {"by": waiting.process.pid})
    assert not fresh_process._waiting


def test_without_one_it_is_started():
    assert fresh_process.run_verification("bad", "parity") == fresh_process.Outcome(1, "damaged\n", None)


def test_one_that_was_killed_while_it_waited_is_replaced():
    fresh_process.prepare()
    (waiting,) = fresh_process._waiting
    _kill(waiting)
    outcome = fresh_process.run_verification("model", "parity")
    assert outcome.returncode == 0
    assert outcome.report != {"by": waiting.process.pid}


def test_a_verification_begun_ahead_gives_its_outcome():
    fresh_process.prepare()
    (waiting,) = fresh_process._waiting
    fresh_process.begin("model", "parity")
    outcome = fresh_process.run_verification("model", "parity")
    assert outcome == fresh_process.Outcome(0, "", {"by": waiting.process.pid})
    assert fresh_process.run_verification("model", "parity").report != outcome.report


def test_one_begun_for_a_bad_model_finds_it_bad():
    fresh_process.begin("bad", "parity")
    assert fresh_process.run_verification("bad", "parity") == fresh_process.Outcome(1, "damaged\n", None)


def test_one_begun_for_another_model_says_nothing_of_this_one():
    fresh_process.begin("bad", "parity")
    assert fresh_process.run_verification("model", "parity").returncode == 0


def test_one_that_was_killed_after_it_was_begun_is_repeated(tmp_path):
    parity = tmp_path / "parity"
    fresh_process.begin("slow", str(parity))
    (begun,) = fresh_process._begun.values()
    _kill(begun)
    parity.touch()
    assert fresh_process.run_verification("slow", str(parity)).returncode == 0


def test_it_ends_with_the_process_that_started_it(tmp_path):
    starts = (
        "from components.pusher import fresh_process; "
        f"fresh_process._SCRIPT = {str(tmp_path / 'stand_in.py')!r}; fresh_process.prepare(); "
        "print(fresh_process._waiting[0].process.pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", starts], capture_output=True, text=True, check=True).stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _is_alive(pid):
        time.sleep(0.05)
    assert not _is_alive(pid)


@pytest.mark.parametrize("call", ["prepare()", "begin('slow', 'parity')"])
def test_one_that_nobody_asks_ends_without_a_word(tmp_path, call):
    code = (
        "from components.pusher import fresh_process; "
        f"fresh_process._SCRIPT = {str(tmp_path / 'stand_in.py')!r}; fresh_process.{call}"
    )
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "verification" not in ended.stderr
    assert "still running" not in ended.stderr


def _kill(verification: Any) -> None:
    verification.process.kill()
    verification.process.wait()


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
