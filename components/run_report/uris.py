"""Where the artifacts of a run lie."""

from collections.abc import Mapping

from tfx.types import Artifact, artifact_utils

from components.run_report.artifacts import Uris

_OF_SPLITS = ("examples", "statistics", "anomalies")


def uris_of(artifacts: Mapping[str, Artifact]) -> Uris:
    """The URIs of what a run has made.

    Args:
        artifacts: By the names of `Uris`; those that were not made are left out.
    """
    return Uris(**{name: split_uris(each) if name in _OF_SPLITS else each.uri for name, each in artifacts.items()})


def split_uris(artifact: Artifact) -> dict[str, str]:
    """Directories of an artifact's splits, by name."""
    names = artifact_utils.decode_split_names(artifact.split_names)
    return {name: artifact_utils.get_split_uri([artifact], name) for name in names}
