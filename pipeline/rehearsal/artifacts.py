"""Types of artifacts, and the record of the artifacts that rehearsals produced."""

import json
from pathlib import Path

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from trainer_module.errors import ConfigError

# Types whose URI is a file. The URI of every other type is a directory.
VALUE_TYPES = {"tfx.String", "tfx.Integer", "tfx.Float", "tfx.Boolean", "tfx.JsonValue"}


def schema_title(schema: pb.ArtifactTypeSchema) -> str:
    """Returns the name of an artifact's type, such as `tfx.Model`."""
    return (yaml.safe_load(schema.instance_schema) or {}).get("title", "")


class ArtifactRecord:
    """Artifacts of all rehearsals below one root: one line of JSON each, oldest first.

    The record replaces Vertex ML Metadata. It holds only artifacts of tasks that succeeded.
    """

    def __init__(self, file: Path):
        """Stores the path of the file, which need not exist."""
        self._file = file

    def add(self, pipeline_name: str, artifact: pb.RuntimeArtifact) -> None:
        """Appends an artifact of a run of the pipeline."""
        fields = json_format.MessageToDict(artifact)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"pipeline": pipeline_name, "artifact": fields}, sort_keys=True) + "\n")

    def of(self, pipeline_name: str) -> list[pb.RuntimeArtifact]:
        """Returns the artifacts of all runs of a pipeline, oldest first.

        Raises:
            ConfigError: A line is not one that `add` wrote.
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
                    f"{self._file}, line {number}: the line is not the record of an artifact ({error}). Remove the "
                    "line, or rehearse with another --root"
                ) from None
            if fields["pipeline"] == pipeline_name:
                found.append(artifact)
        return found
