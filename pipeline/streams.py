"""The standard streams as every command can rely on them, however it was started."""

import contextlib
import io
import os
import sys
from typing import Any, TextIO


def prepare_streams() -> None:
    """Opens standard streams that are closed, and lets no character that the terminal lacks end a command.

    A command that was started without stdout (`>&-`) would otherwise write its messages into the first file it opens.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.dup(descriptor), "w"))
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            # Fails where another file was put under the stream since Python started.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="backslashreplace")


class LosableStream:
    """A text stream that may be lost: what nobody can read any more is dropped.

    For output that tells how a command goes on, whose results are files: a reader that has ended (`| head`), or a full
    disk, must not end a training.
    """

    def __init__(self, stream: TextIO):
        """Wraps a stream that has a file descriptor."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, as `TextIO` does."""
        try:
            self._stream.write(text)
        except OSError:
            self._lose()
        return len(text)

    def flush(self) -> None:
        """Flushes, as `TextIO` does."""
        try:
            self._stream.flush()
        except OSError:
            self._lose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self) -> None:
        """Puts the null device under the stream, whose buffer would otherwise fail again when it is closed."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
