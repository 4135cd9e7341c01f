"""The standard streams as every command can rely on them, however it was started."""

import contextlib
import os
import sys


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
        # Fails where another file was put under the stream since Python started.
        with contextlib.suppress(OSError):
            getattr(sys, name).reconfigure(errors="backslashreplace")
