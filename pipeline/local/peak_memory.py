"""Peak memory of this process by component, and what is done so that a component does not inherit that of another."""

import ctypes
import gc
import threading
from types import TracebackType

import psutil
import pyarrow as pa

# Short beside the time that anything large needs to be allocated and used.
_SECONDS_BETWEEN_LOOKS = 0.02


def release_memory() -> None:
    """Gives what the process has freed, but keeps for itself, back to the system.

    Graphs of TensorFlow lie in cycles that only Python's collector finds, and both the C library and Arrow keep freed
    memory for later (`malloc_trim(3)`).
    """
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)


class PeakMemory:
    """Context manager that looks at the resident memory of this process again and again.

    The kernel's own counter is not taken: the Trainer resets it for the forecast of an export. Processes that a
    component starts are not counted.
    """

    def __init__(self):
        self._process, self._peak = psutil.Process(), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="peak-memory", daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._ended.set()
        self._thread.join()

    def bytes(self) -> int:
        """The most that was resident so far, in bytes, with mapped libraries."""
        self._look()
        return self._peak

    def _look_on(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)
