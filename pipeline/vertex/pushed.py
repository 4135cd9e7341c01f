"""Finds and reads pushed versions in Cloud Storage, without TensorFlow."""

import json
from typing import Any

from google.cloud import storage

from components.google_cloud.calls import PATIENCE, Advice, Calls, Patience
from components.google_cloud.clients import default_credentials
from components.pusher.layout import SUMMARY_FILE_NAME
from components.vertex_deployer.version import CLOUD_STORAGE
from pipeline.vertex.config import VertexConfig
from trainer_module.errors import ModelError

# The Pusher writes this file last. A version without it is incomplete.
_GRAPH_FILE = "saved_model.pb"


class PushedVersions:
    """Versions that the Pusher has published to buckets."""

    def __init__(self, vertex: VertexConfig, patience: Patience = PATIENCE):
        """Creates the client with Application Default Credentials.

        Raises:
            SetupError: The credentials are missing.
        """
        self._calls = Calls(vertex, patience, _advice(vertex))
        self._client = storage.Client(project=vertex.project, credentials=default_credentials())

    def latest(self, base_uri: str) -> str | None:
        """Returns the URI of the newest complete version below `base_uri`, or None.

        Raises:
            ServiceError: The bucket does not exist, or this account may not read it.
        """
        bucket, folder = _parts(base_uri)
        numbers = self._calls.repeat(self._numbers, (bucket, f"{folder}/"))
        for number in sorted(numbers, reverse=True):
            if self._exists(bucket, f"{folder}/{number}/{_GRAPH_FILE}"):
                return f"{base_uri}/{number}"
        return None

    def summary(self, uri: str) -> dict[str, Any]:
        """Returns the summary that the Pusher wrote next to a version.

        Raises:
            ModelError: The version is missing or incomplete.
            ServiceError: The bucket does not exist, or this account may not read it.
        """
        bucket, folder = _parts(uri)
        for name in (_GRAPH_FILE, SUMMARY_FILE_NAME):
            if not self._exists(bucket, f"{folder}/{name}"):
                raise ModelError(f"{uri} is not a pushed version: it has no {name}")
        blob = self._client.bucket(bucket).blob(f"{folder}/{SUMMARY_FILE_NAME}")
        return json.loads(self._calls.repeat(lambda blob, **options: blob.download_as_bytes(**options), blob))

    def _exists(self, bucket: str, name: str) -> bool:
        blob = self._client.bucket(bucket).blob(name)
        return self._calls.repeat(lambda blob, **options: blob.exists(**options), blob)

    def _numbers(self, place: tuple[str, str], **options: Any) -> list[int]:
        bucket, prefix = place
        pages = self._client.list_blobs(bucket, prefix=prefix, delimiter="/", **options)
        for _ in pages:  # the client knows the folders after the last page of files
            pass
        names = [folder.removeprefix(prefix).rstrip("/") for folder in pages.prefixes]
        return [int(name) for name in names if name.isascii() and name.isdigit()]


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, folder = uri.removeprefix(CLOUD_STORAGE).rstrip("/").partition("/")
    return bucket, folder


def _advice(vertex: VertexConfig) -> Advice:
    return Advice(
        forbidden=f"Reading {vertex.bucket} needs roles/storage.objectViewer on the bucket",
        not_found=f"Check that the bucket ({vertex.bucket}, or that of --model) exists",
        bad_request="Check vertex.bucket and --model",
        unanswered="and run the same command again",
    )
