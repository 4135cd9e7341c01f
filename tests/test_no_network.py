"""What the end-to-end tests rely on when they say that no component reached for the network."""

import sys

import pytest

from tests.workspace import Workspace


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import urllib.request; urllib.request.urlopen('http://example.com', timeout=1)",
        "import socket; socket.gethostbyname('example.com')",
    ],
)
def test_an_attempt_at_the_network_is_refused_and_written_down(tmp_path, attempt):
    workspace = Workspace.create(tmp_path, "name: small")
    process = workspace.call(sys.executable, "-c", attempt)
    assert process.returncode == 1
    assert "this test has no network" in process.stderr
    assert workspace.network_log.read_text().startswith("socket.")
