"""Artifacts as the service describes them, and the record of those that were made."""

import json
from pathlib import Path

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from trainer_module.errors import ConfigError

# Their URI is that of a file; that of any other artifact is a directory's.
_VALUES = {"tfx.String", "tfx.Integer", "tfx.Float", "tfx.Boolean", "tfx.JsonValue"}


def schema_title(schema: pb.ArtifactTypeSchema) -> str:
    """The name of an artifact's type, as in `tfx.Model`."""
    if schema.schema_title:
        return schema.schema_title
    return (yaml.safe_load(schema.instance_schema) or {}).get("title", "")


def is_value(artifact: pb.RuntimeArtifact) -> bool:
    """Whether the artifact is a single value, kept in one file."""
    return schema_title(artifact.type) in _VALUES


class ArtifactRecord:
    """What the rehearsals below one root have made: a line of JSON per artifact, in the order of their making.

    It takes the place of Vertex ML Metadata. Only artifacts of tasks that succeeded are in it, so all are live.
    """

    def __init__(self, file: Path):
        """Keeps where the lines are."""
        self._file = file

    def add(self, pipeline_name: str, artifact: pb.RuntimeArtifact) -> None:
        """Appends an artifact that a run of the pipeline has made."""
        fields = json_format.MessageToDict(artifact)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"pipeline": pipeline_name, "artifact": fields}, sort_keys=True) + "\n")

    def of(self, pipeline_name: str) -> list[pb.RuntimeArtifact]:
        """All artifacts of a pipeline's runs, the oldest first.

        Raises:
            ConfigError: A line of the record is none that `add` wrote.
        """
        if not self._file.exists():
            return []
        found = []
        for number, line in enumerate(self._file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                fields = json.loads(line)
                artifact = json_format.ParseDict(fields["artifact"], pb.RuntimeArtifact())
            except (ValueError, KeyError, json_format.ParseError) as error:
                raise ConfigError(
                    f"{self._file}, line {number}: no record of an artifact ({error}). Remove the line, or rehearse "
                    "with another --root"
                ) from None
            if fields["pipeline"] == pipeline_name:
                found.append(artifact)
        return found
