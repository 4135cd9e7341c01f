"""Commands that are asked to stop, as processes."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

PROGRAM = """
import subprocess, sys, time
from pipeline.interruption import end_when_asked_to, keeps
end_when_asked_to()
keeps("all is kept")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=-3, stderr=-3)
{before}
print(child.pid, flush=True)
{waits}
"""
# In Python, in a call that never comes back to it, and where every exception is swallowed.
WAITS = {
    "asleep": "time.sleep(600)",
    "in C": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "in a regular expression": "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)",
    "swallowing": "while True:\n    try:\n        time.sleep(600)\n    except BaseException:\n        pass",
}


def start(waits: str, before: str = "", **options) -> tuple[subprocess.Popen, int]:
    """A process that waits, and its child's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(waits=waits, before=before)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=os.getcwd(),
        **options,
    )
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("waits", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize(
    "number, code, name", [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")], ids=["term", "int"]
)
def test_one_line_a_code_and_no_orphan(waits, number, code, name):
    process, child = start(waits)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors == f"stopped by {name}: all is kept\n"
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_unfinished_files_go_although_a_thread_still_writes_them(number, tmp_path):
    before = (
        "import itertools, threading; from pathlib import Path; from components.scratch import scratch_directory\n"
        f"directory = scratch_directory(Path({str(tmp_path)!r}), '.part-'); scratch = directory.__enter__()\n"
        "def write():\n"
        "    for file in itertools.count():\n"
        "        (scratch / str(file)).write_bytes(bytes(1000))\n"
        "threading.Thread(target=write, daemon=True).start()\n"
        "while len(list(scratch.iterdir())) < 1000: time.sleep(.01)"
    )
    process, _ = start("time.sleep(600)", before)
    assert list(tmp_path.iterdir())
    process.send_signal(number)
    process.communicate(timeout=30)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_stays_ignored_where_the_shell_ignores_it():
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process, child = start("time.sleep(1); sys.exit(7)", **ignoring)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    os.kill(child, signal.SIGKILL)
    assert process.returncode == 7 and not errors


def test_training_is_left_to_save_its_state():
    waits = (
        "while not preemption.requested: time.sleep(.01)\nchild.kill()\nsys.exit(str(preemption.stopped('at step 3')))"
    )
    before = (
        "from trainer_module.training.interruption import watch_for_preemption\n"
        "watching = watch_for_preemption(); preemption = watching.__enter__()"
    )
    process, _ = start(waits, before)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.startswith("asked to stop (Ctrl-C) at step 3; the state is saved")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_command(closed, tmp_path):
    written = tmp_path / "written"
    program = (
        "import sys; from pipeline.streams import prepare_streams; prepare_streams(); "
        f"file = open({str(written)!r}, 'w'); print('a'); print('b', file=sys.stderr)"
    )
    process = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "$1" {closed}', "bash", program], capture_output=True, cwd=os.getcwd()
    )
    assert process.returncode == 0, process.stderr
    assert written.read_text() == ""


def test_a_terminal_without_the_character_ends_no_command():
    program = "from pipeline.streams import prepare_streams; prepare_streams(); print('✓')"
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        cwd=os.getcwd(),
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == b"\\u2713\n"


@pytest.mark.parametrize("redirect", ["> /dev/full", "> >(exec true)"], ids=["full", "gone"])
def test_output_that_nobody_can_read_ends_no_run(redirect):
    program = (
        "import sys, time; from rich.console import Console; from pipeline.streams import LosableStream\n"
        "console = Console(file=LosableStream(sys.stdout))\n"
        "time.sleep(.5)\n"
        "for number in range(2000): console.print('a line', number)"
    )
    process = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "$1" {redirect}', "bash", program], capture_output=True, cwd=os.getcwd()
    )
    assert process.returncode == 0, process.stderr
    assert not process.stderr


ORPHAN = """
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", "from pipeline.interruption import end_with_parent; import time; end_with_parent(); "
     "print(flush=True); time.sleep(600)"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_ends_with_the_process_that_started_it():
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    child = psutil.Process(int(parent.stdout.readline()))
    # Ctrl-C reaches both, and is the parent's to deal with.
    child.send_signal(signal.SIGINT)
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(0.2)
    parent.kill()
    parent.wait()
    child.wait(10)
