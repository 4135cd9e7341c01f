"""Preemption: a TPU or spot machine that is taken away announces it with SIGTERM."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class Preemption:
    """Whether this process has been asked to stop."""

    def __init__(self):
        self.requested = False

    def request(self, *_) -> None:
        self.requested = True


@contextmanager
def watch_for_preemption() -> Iterator[Preemption]:
    """Notes SIGTERM instead of dying of it; whoever trains looks between its calls to the devices."""
    preemption = Preemption()
    if threading.current_thread() is not threading.main_thread():
        _log.warning("not the main thread: SIGTERM will end this process without a last checkpoint")
        yield preemption
        return
    before = signal.signal(signal.SIGTERM, preemption.request)
    try:
        yield preemption
    finally:
        signal.signal(signal.SIGTERM, before)
