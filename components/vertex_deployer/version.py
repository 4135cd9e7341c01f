"""A pushed version, as far as a deployment needs to know it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.retrieval_index.layout import VERTEX_DIRECTORY
from trainer_module.errors import ModelError

CLOUD_STORAGE = "gs://"


@dataclass(frozen=True)
class PushedVersion:
    """A version that the Pusher has published.

    Attributes:
        uri: Its directory; ends with its number.
        pipeline: Name of the pipeline that made it.
        dim: Of its items' vectors; None where it has none or its summary does not say it.
    """

    uri: str
    pipeline: str
    dim: int | None = None

    @property
    def number(self) -> str:
        return self.uri.rpartition("/")[2]

    @property
    def vectors(self) -> str:
        """The directory that Vertex AI Vector Search imports."""
        return f"{self.uri}/{VERTEX_DIRECTORY}"


def described_version(uri: str, pipeline: str, summary: Mapping[str, Any]) -> PushedVersion:
    """The version of which a `summary.json` tells.

    Args:
        uri: Its directory.
        pipeline: Name of the pipeline that made it.
        summary: What the Pusher wrote beside it.

    Raises:
        ModelError: The model was not good enough to be pushed, so it must not be deployed either.
    """
    verdict = summary["blessing"]
    if not verdict["push"]:
        raise ModelError(
            f"{uri} is not deployed: the model was not pushed ({verdict['reason']}). Deploy an earlier version with "
            "--model, or train a better one"
        )
    report = summary.get("retrieval_index") or {}
    return PushedVersion(uri.rstrip("/"), pipeline, report.get("dim"))
