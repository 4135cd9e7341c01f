"""A local service, and credentials that it accepts."""

import json

import pytest

from .server import VertexServer, running


@pytest.fixture
def server():
    with running(VertexServer()) as started:
        yield started


@pytest.fixture
def credentials(server, tmp_path, monkeypatch):
    """Credentials of a workload elsewhere, found as Google's libraries find them.

    Of all kinds, these let a file say who exchanges them for access tokens; here the local service does.
    """
    (tmp_path / "subject_token").write_text("who-i-am")
    file = tmp_path / "credentials.json"
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/a-pool-of-the-test",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{server.url}/token",
        "credential_source": {"file": str(tmp_path / "subject_token")},
    }
    file.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    return file
