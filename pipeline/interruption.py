"""What a command does when it is asked to stop: it says what is kept, and ends.

Training looks for these signals itself, to save its state first (`trainer_module.training.interruption`). Everywhere
else there is nothing to save: whatever a command writes is complete or has another name, so it may end anywhere.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading

import psutil

from components.scratch import remove_open
from pipeline.exit_codes import FAILED, INTERRUPTED, PREEMPTED
from trainer_module.errors import Interrupted, Preempted

RESULTS_OF_COMPONENTS = "what finished components made is kept, and the same command goes on from there"

_EXIT_CODES = {signal.SIGTERM: PREEMPTED, signal.SIGINT: INTERRUPTED}
_SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"

# Marks a signal's number as one that the training loop has not seen.
_NOT_FOR_TRAINING = 0x80

# Of prctl(2).
_PR_SET_PDEATHSIG = 1

_writing = -1
_kept = "nothing is left half-written; run the same command again"


def exit_code(error: Exception) -> int:
    """The exit code of a command that an error has ended."""
    if isinstance(error, Interrupted):
        return INTERRUPTED
    return PREEMPTED if isinstance(error, Preempted) else FAILED


def keeps(what: str) -> None:
    """Sets what the last line of this process says if it is asked to stop: what is kept, and how to go on."""
    global _kept
    _kept = what


def end_when_asked_to() -> None:
    """Makes SIGTERM and Ctrl-C end this process with one line on stderr; call it in the main thread.

    A thread waits for the signals, because Python's own handlers wait for the main thread, which may be inside a call
    to TensorFlow for minutes. Signals that are ignored, as those of a command that a shell runs in the background,
    stay ignored.
    """
    global _writing
    reading, _writing = os.pipe()
    os.set_blocking(_writing, False)
    for number in _EXIT_CODES:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave_to_thread)
    signal.set_wakeup_fd(_writing, warn_on_full_buffer=False)
    # The commands redirect stderr to a log later.
    terminal = os.dup(2)
    threading.Thread(target=_wait, args=(reading, terminal), daemon=True).start()


def end_with_parent() -> None:
    """Makes the kernel kill this process when the one that started it is gone, even by SIGKILL; leaves Ctrl-C to it."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(FAILED)
    for number in _EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)


def _leave_to_thread(number: int, *_) -> None:
    # Training may set its handlers just after the signal came, so the thread is told that it was not for training.
    os.write(_writing, bytes([number | _NOT_FOR_TRAINING]))


def _wait(reading: int, terminal: int) -> None:
    while received := os.read(reading, 1):
        number, is_certain = received[0] & ~_NOT_FOR_TRAINING, received[0] & _NOT_FOR_TRAINING
        # During training the loop has handlers of its own.
        if number in _EXIT_CODES and (is_certain or signal.getsignal(number) is _leave_to_thread):
            _end(signal.Signals(number), terminal)


def _end(number: signal.Signals, terminal: int) -> None:
    line = f"stopped by {'Ctrl-C' if number == signal.SIGINT else number.name}: {_kept}\n"
    try:
        os.write(terminal, (_SHOW_CURSOR * os.isatty(terminal) + line).encode())
        if not os.path.sameopenfile(terminal, 2):
            os.write(2, line.encode())
    except OSError:
        pass  # nobody reads it any more
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=5)
    remove_open()
    # Threads of Beam and gRPC would keep the interpreter from ending.
    os._exit(_EXIT_CODES[number])
