"""Description of a pushed version for its deployment."""

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
        uri: Directory of the version; the last part is the version's number.
        pipeline: Name of the pipeline.
        dim: Dimension of the items' vectors; None if the version has no vectors or its summary does not state it.
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
    """Describes the version that a `summary.json` belongs to.

    Args:
        uri: Directory of the version.
        pipeline: Name of the pipeline.
        summary: Content of the `summary.json` that the Pusher wrote.

    Raises:
        ModelError: The model was not good enough to be pushed, so it is not deployed either.
    """
    verdict = summary["blessing"]
    if not verdict["push"]:
        raise ModelError(
            f"{uri} is not deployed: the model was not pushed ({verdict['reason']}). Deploy an earlier version with "
            "--model, or train a better one"
        )
    report = summary.get("retrieval_index") or {}
    return PushedVersion(uri.rstrip("/"), pipeline, report.get("dim"))
