"""Terminal output of a run: progress by component. All other output goes to a log file."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_PRODUCT_LOGGERS = ("trainer_module", "components", "pipeline")
# Logs many lines of progress, of which only the last one is shown.
_PROGRESS_LOGGER = "trainer_module.progress"


class ComponentProgress:
    """Shows the running components with their times, and the finished ones. Implements `Observer`."""

    def __init__(self, console: Console):
        self._running: dict[str, TaskID] = {}
        self._phase: str | None = None
        self._failed: str | None = None
        self._console = console
        self._messages = ProgressMessages(self)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "ComponentProgress":
        logging.getLogger(_PROGRESS_LOGGER).addHandler(self._messages)
        self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        logging.getLogger(_PROGRESS_LOGGER).removeHandler(self._messages)
        self._progress.stop()

    @property
    def current(self) -> str | None:
        """The component that has failed, or the one that began last and still runs; None during a phase."""
        return self._failed or (None if self._phase else self._latest)

    @property
    def _latest(self) -> str | None:
        """The component or phase that began last and still runs."""
        return next(reversed(self._running), None)

    def begins(self, phase: str) -> None:
        """Shows what is done between components, until the next one or another phase begins."""
        self.started(phase)
        self._phase = phase

    def started(self, component: str) -> None:
        if self._phase:
            self._remove(self._phase)
            self._phase = None
        self._running[component] = self._progress.add_task(component)
        if not self._console.is_terminal:
            self._console.print(f"{component} ...")

    def finished(self, component: str, seconds: float, cached: bool) -> None:
        self._remove(component)
        how = "cached" if cached else f"{seconds:.1f} s"
        self._console.print(f"[green]✓[/green] {component} [dim]{how}[/dim]", highlight=False)

    def failed(self, component: str) -> None:
        self._failed = component

    def progressed(self, message: str) -> None:
        """Shows the progress of the current component instead of its last message."""
        if latest := self._latest:
            self._progress.update(self._running[latest], description=f"{latest}: {message}")

    def _remove(self, name: str) -> None:
        # A run that is answered as a whole finishes components that it never started.
        if name in self._running:
            self._progress.remove_task(self._running.pop(name))

    def noted(self, message: str) -> None:
        """Prints a line that stays, below the current component."""
        self._console.print(f"    {message}", markup=False, highlight=False, soft_wrap=True)


class ProductMessages(logging.Handler):
    """Shows the product's own log messages, indented below the current component."""

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self._console = console

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name != _PROGRESS_LOGGER

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self._console.print(f"    {record.getMessage()}", style=style, markup=False, highlight=False)


class ProgressMessages(logging.Handler):
    """Passes lines of progress to `ComponentProgress`."""

    def __init__(self, progress: ComponentProgress):
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.progressed(record.getMessage())


@contextmanager
def output_to(log_file: Path, messages_to: Console | None = None) -> Iterator[Console]:
    """Redirects all output of this process to a file.

    Replaces the file descriptors and not only `sys.stdout` and `sys.stderr`, because TensorFlow's C++ code writes to
    the descriptors directly.

    Args:
        log_file: File to which the output is appended.
        messages_to: Shows the product's own log messages; None is the console that is yielded.

    Yields:
        A console that still prints to the terminal.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal, terminal_error = os.dup(1), os.dup(2)
    stream = os.fdopen(os.dup(terminal), "w", encoding="utf-8", errors="backslashreplace")
    file_handler = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
    file_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    console = Console(file=stream)
    messages = ProductMessages(messages_to or console)
    try:
        with log_file.open("ab") as target:
            os.dup2(target.fileno(), 1)
            os.dup2(target.fileno(), 2)
        root.handlers[:] = [file_handler]
        root.setLevel(logging.INFO)
        # A library that captures them already would keep them from this file.
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.simplefilter("default")
        for name in _PRODUCT_LOGGERS:
            logging.getLogger(name).addHandler(messages)
        yield console
    finally:
        for name in _PRODUCT_LOGGERS:
            logging.getLogger(name).removeHandler(messages)
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
        try:
            # These fail if the log's disk is full.
            file_handler.close()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os.dup2(terminal, 1)
            os.dup2(terminal_error, 2)
            os.close(terminal)
            os.close(terminal_error)
            stream.close()
