"""Queries for artifacts of earlier runs, in the language that TFX's compiler writes for resolvers.

It is a part of the filters of Vertex ML Metadata: comparisons for equality, all of which must hold.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.rehearsal.artifacts import schema_title

_TERM = re.compile(
    r"(?P<field>schema_title|name|state|metadata\.(?P<key>\w+)\.(?P<kind>number_value|string_value))"
    r'=(?:"(?P<text>[^"]*)"|(?P<bare>[\w.-]+))'
)
_OF_INPUT = re.compile(r"\{\{\$\.inputs\.artifacts\['(?P<input>[^']+)'\]\.metadata\['(?P<key>[^']+)'\]\}\}")


@dataclass(frozen=True)
class _Comparison:
    """A term of a filter.

    Attributes:
        field: `schema_title`, `name`, `state` or `metadata`.
        key: Of the metadata.
        kind: How the metadata's value is stored.
        value: What it must be equal to.
    """

    field: str
    key: str
    kind: str
    value: str


def problem(query: str) -> str:
    """What a query holds that is not understood; empty if nothing."""
    for term in query.split(" AND "):
        match = _TERM.fullmatch(term.strip())
        if not match:
            return f"artifact query {query!r}: {term.strip()!r} is not understood"
        if "{{" in (value := match["text"] or "") and not _OF_INPUT.fullmatch(value):
            return f"artifact query {query!r}: placeholder {value}"
        if match["field"] == "state" and match["bare"] != "LIVE":
            return f"artifact query {query!r}: only artifacts whose state is LIVE are kept on record"
    return ""


def latest(
    query: pb.PipelineDeploymentConfig.ResolverSpec.ArtifactQuerySpec,
    inputs: Mapping[str, Sequence[pb.RuntimeArtifact]],
    recorded: Sequence[pb.RuntimeArtifact],
) -> list[pb.RuntimeArtifact]:
    """The artifacts that a query finds, the latest first.

    Args:
        query: `limit` is 1 unless it says otherwise. A placeholder of an input that has no artifact, or not that
            metadata, finds nothing.
        inputs: Of the resolver.
        recorded: Of earlier runs of the pipeline and of this one, in the order in which they were made.
    """
    comparisons = list(_comparisons(query.filter, inputs))
    if None in comparisons:
        return []
    terms = [term for term in comparisons if term is not None]
    found = (artifact for artifact in reversed(recorded) if all(_holds(term, artifact) for term in terms))
    return _first(found, query.limit or 1)


def _comparisons(query: str, inputs: Mapping[str, Sequence[pb.RuntimeArtifact]]) -> Iterator[_Comparison | None]:
    for term in query.split(" AND "):
        match = _TERM.fullmatch(term.strip())
        if match is None:
            raise ValueError(problem(query))
        value = match["bare"] if match["text"] is None else match["text"]
        if of_input := _OF_INPUT.fullmatch(value):
            artifacts = inputs[of_input["input"]]
            if not artifacts or of_input["key"] not in artifacts[0].metadata.fields:
                yield None
                continue
            value = artifacts[0].metadata.fields[of_input["key"]].string_value
        yield _Comparison(match["field"].partition(".")[0], match["key"] or "", match["kind"] or "", value)


def _holds(term: _Comparison, artifact: pb.RuntimeArtifact) -> bool:
    if term.field == "state":
        return True
    if term.field == "name":
        return artifact.name == term.value
    if term.field == "schema_title":
        return schema_title(artifact.type) == term.value
    value = artifact.metadata.fields.get(term.key)
    if value is None or value.WhichOneof("kind") != term.kind:
        return False
    return value.number_value == float(term.value) if term.kind == "number_value" else value.string_value == term.value


def _first(artifacts: Iterable[pb.RuntimeArtifact], number: int) -> list[pb.RuntimeArtifact]:
    return [artifact for artifact, _ in zip(artifacts, range(number), strict=False)]
