"""Renders Vega-Lite in a process of its own.

Its JavaScript engine takes as long to start as it takes to draw a page, and keeps Python's lock all the while. In a
process of its own it can start while the run has a core to spare. The process ends with the one that started it.
"""

import atexit
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

# The first chart starts the engine.
_SCRIPT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import vl_convert
vl_convert.vegalite_to_svg({"data": {"values": []}, "mark": "point", "encoding": {"x": {"field": "x"}}})
for line in sys.stdin:
    try:
        answer = {"svg": vl_convert.vegalite_to_svg(json.loads(line))}
    except ValueError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


def prepare() -> None:
    """Starts the process that the next call of `to_svg` will use."""
    with _lock:
        _running()


def to_svg(specification: Mapping[str, Any]) -> str:
    """Draws a chart.

    Args:
        specification: In Vega-Lite.

    Raises:
        ValueError: The specification is wrong.
        RuntimeError: The process ended, twice in a row.
    """
    request = json.dumps(specification) + "\n"
    with _lock:
        # One that has waited may have been ended by somebody who wanted memory.
        line = _answer(request) or _answer(request)
    if not line:
        raise RuntimeError("the process that draws charts ended twice without an answer; the log may say why")
    answer = json.loads(line)
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["svg"]


def _answer(request: str) -> str:
    """The process's answer; empty if it ended, which the next one then replaces."""
    process = _running()
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(request)
        process.stdin.flush()
    except BrokenPipeError:
        pass
    line = process.stdout.readline()
    if not line:
        _end()
    return line


def _running() -> subprocess.Popen[str]:
    if not _processes:
        _processes.append(
            # -I hides the product's packages and the user's site directory from the process.
            subprocess.Popen(
                [sys.executable, "-I", "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
    return _processes[0]


@atexit.register
def _end() -> None:
    while _processes:
        process = _processes.pop()
        process.kill()
        process.communicate()


_lock = threading.Lock()
_processes: list[subprocess.Popen[str]] = []
