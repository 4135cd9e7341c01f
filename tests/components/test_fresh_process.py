"""The process that verifies a model: started ahead, replaced if it ended, and gone with whoever started it."""

import subprocess
import sys
import time

import pytest

from components.pusher import fresh_process, verify

STAND_IN = """
import json, os, sys
paths = json.loads(sys.stdin.read() or "null")
if paths:
    open(paths[2], "w").write(str(os.getpid()))
    sys.exit("damaged" if paths[0] == "bad" else 0)
"""


@pytest.fixture(autouse=True)
def script(tmp_path, monkeypatch):
    """Takes the place of the verification, which imports TensorFlow."""
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    monkeypatch.setattr(verify, "__file__", str(path))
    monkeypatch.setattr(fresh_process, "_waiting", [])


def test_a_process_started_ahead_does_the_work(tmp_path):
    fresh_process.prepare()
    fresh_process.prepare()
    (waiting,) = fresh_process._waiting
    assert fresh_process.run_verification("model", "parity", str(tmp_path / "report")).returncode == 0
    assert (tmp_path / "report").read_text() == str(waiting.pid)
    assert not fresh_process._waiting


def test_without_one_it_is_started(tmp_path):
    outcome = fresh_process.run_verification("bad", "parity", str(tmp_path / "report"))
    assert outcome == fresh_process.Outcome(1, "damaged\n")


def test_one_that_was_killed_while_it_waited_is_replaced(tmp_path):
    fresh_process.prepare()
    (waiting,) = fresh_process._waiting
    waiting.kill()
    waiting.wait()
    assert fresh_process.run_verification("model", "parity", str(tmp_path / "report")).returncode == 0
    assert (tmp_path / "report").read_text() != str(waiting.pid)


def test_it_ends_with_the_process_that_started_it(tmp_path):
    starts = (
        "from components.pusher import fresh_process, verify; "
        f"verify.__file__ = {str(tmp_path / 'stand_in.py')!r}; fresh_process.prepare(); "
        "print(fresh_process._waiting[0].pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", starts], capture_output=True, text=True, check=True).stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _is_alive(pid):
        time.sleep(0.05)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
