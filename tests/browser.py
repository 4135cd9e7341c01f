"""A headless Chromium, spoken to by the DevTools protocol."""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import websocket

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_EXECUTABLE = next(filter(None, map(shutil.which, _NAMES)), None)
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
_SECONDS = 60

needs_chromium = pytest.mark.skipif(_EXECUTABLE is None, reason=f"needs a browser: {', '.join(_NAMES)}")


class Tab:
    """A page in the browser.

    Attributes:
        errors: Exceptions and what was written to the console as an error.
        requests: URLs that were asked for.
    """

    def __init__(self, address: str):
        self._socket = websocket.create_connection(address, timeout=_SECONDS)
        self._numbers = itertools.count(1)
        self._seen: set[str] = set()
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._socket.close()

    def open(self, path: Path) -> None:
        """Opens a local file and waits until it is loaded."""
        self._seen.clear()
        self.call("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._receive()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of what it promises."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def violations(self) -> list[str]:
        """What axe-core finds wrong for people with disabilities, a line for each rule."""
        self.evaluate(resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8") + ";0")
        found = self.evaluate("axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)")
        return [f"{each['id']}: {each['help']}, as in {each['nodes'][0]['html'][:200]}" for each in found]

    def _receive(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv())
        method, parameters = message.get("method", ""), message.get("params", {})
        self._seen.add(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(str(parameters["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        return message


@contextmanager
def browser_tab() -> Iterator[Tab]:
    """A page in a new browser with a new profile."""
    assert _EXECUTABLE
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [_EXECUTABLE, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            tab = Tab(_address(Path(profile, "DevToolsActivePort"), process))
            yield tab
            tab.close()
        finally:
            process.terminate()
            process.wait(timeout=_SECONDS)


def _address(port_file: Path, process: subprocess.Popen) -> str:
    """Address of the first page, once the browser has written down its port."""
    deadline = time.monotonic() + _SECONDS
    while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
        assert process.poll() is None, f"the browser ended with exit code {process.returncode}"
        assert time.monotonic() < deadline, "the browser did not start"
        time.sleep(0.05)
    port = port_file.read_text().splitlines()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
        return next(each["webSocketDebuggerUrl"] for each in json.load(answer) if each["type"] == "page")
