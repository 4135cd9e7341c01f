"""Preemption: a TPU or spot machine that is taken away announces it with SIGTERM, a person with Ctrl-C."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trainer_module.errors import Interrupted, Preempted

_log = logging.getLogger(__name__)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
    """Whether this process has been asked to stop, and by which signal.

    Attributes:
        by: The signal; None if it has not been asked.
    """

    def __init__(self):
        self.by: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        return self.by is not None

    def request(self, number: int, *_) -> None:
        self.by = signal.Signals(number)

    def stopped(self, where: str) -> Preempted:
        """The error that ends the training.

        Args:
            where: How far it came.
        """
        kind, by = (Interrupted, "Ctrl-C") if self.by == signal.SIGINT else (Preempted, "SIGTERM")
        return kind(f"asked to stop ({by}) {where}; the state is saved, and the same command goes on from there")


@contextmanager
def watch_for_preemption() -> Iterator[Preemption]:
    """Notes SIGTERM and Ctrl-C instead of dying of them; whoever trains looks between its calls to the devices."""
    preemption = Preemption()
    if threading.current_thread() is not threading.main_thread():
        _log.warning("not the main thread: SIGTERM and Ctrl-C will end this process without a last checkpoint")
        yield preemption
        return
    # A signal that is ignored, as Ctrl-C is by a command in the background, stays ignored.
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, preemption.request)
    try:
        yield preemption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
