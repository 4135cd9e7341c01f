"""Credentials and clients of Google's APIs."""

from typing import Any, TypeVar

import google.auth
from google.api_core.client_options import ClientOptions
from google.auth.credentials import Credentials

from components.google_cloud.calls import credentials_needed
from components.google_cloud.target import Target

Client = TypeVar("Client")

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def default_credentials() -> Credentials:
    """Finds Application Default Credentials, as Google's own libraries do.

    Raises:
        SetupError: There are none.
    """
    with credentials_needed():
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    return credentials


def make_client(client: type[Client], target: Target, credentials: Credentials) -> Client:
    """Creates a client of the Vertex AI API that talks REST.

    Args:
        client: Class of the client, from `google.cloud.aiplatform_v1.services`.
        target: Holds the API's address.
        credentials: See `default_credentials`.
    """
    arguments: dict[str, Any] = {
        "transport": "rest",
        "credentials": credentials,
        "client_options": ClientOptions(api_endpoint=target.api),
    }
    return client(**arguments)
