"""Queries for artifacts of earlier runs.

TFX's compiler writes two filters for the resolver of the latest blessed model: one finds the latest blessing, the other
finds the model that the blessing names. Both are conjunctions of equalities in the filter language of Vertex ML
Metadata.
"""

import re
from collections.abc import Mapping, Sequence

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.rehearsal.artifacts import schema_title

# An artifact of a failed task is never recorded, so all recorded artifacts are live.
_TERM = re.compile(
    r'schema_title="(?P<title>[^"{}]+)"'
    r"|state=LIVE"
    r"|metadata\.(?P<key>\w+)\.number_value=(?P<number>\d+(\.\d+)?)"
    r"|name=\"\{\{\$\.inputs\.artifacts\['(?P<input>[^']+)'\]\.metadata\['(?P<name_key>[^']+)'\]\}\}\""
)


def problem(query: str) -> str:
    """Returns a sentence about the first unsupported term of a query; empty if all are supported."""
    for term in query.split(" AND "):
        if not _TERM.fullmatch(term):
            return f"term {term!r} of the artifact query {query!r} is not supported"
    return ""


def latest(
    query: str, inputs: Mapping[str, Sequence[pb.RuntimeArtifact]], recorded: Sequence[pb.RuntimeArtifact]
) -> list[pb.RuntimeArtifact]:
    """Finds the latest artifact that fits a query.

    Args:
        query: Filter without unsupported terms. A placeholder of an input that has no artifact, or not that metadata,
            finds nothing.
        inputs: Input artifacts of the resolver.
        recorded: Artifacts of all runs of the pipeline, oldest first.

    Returns:
        At most one artifact.
    """
    terms = [match for match in map(_TERM.fullmatch, query.split(" AND ")) if match]
    fitting = (artifact for artifact in reversed(recorded) if all(_holds(term, artifact, inputs) for term in terms))
    found = next(fitting, None)
    return [] if found is None else [found]


def _holds(
    term: re.Match[str], artifact: pb.RuntimeArtifact, inputs: Mapping[str, Sequence[pb.RuntimeArtifact]]
) -> bool:
    if term["title"]:
        return schema_title(artifact.type) == term["title"]
    if term["key"]:
        value = artifact.metadata.fields.get(term["key"])
        is_number = value is not None and value.WhichOneof("kind") == "number_value"
        return is_number and value.number_value == float(term["number"])
    if term["input"]:
        fields = [given.metadata.fields for given in inputs.get(term["input"], ())]
        return any(term["name_key"] in each and each[term["name_key"]].string_value == artifact.name for each in fields)
    return True
