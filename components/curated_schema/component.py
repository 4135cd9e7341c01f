"""The curated schema as an artifact.

TFX's `ImportSchemaGen` is cached by the file's path, so an edited schema would go unnoticed. Here the text itself is
the parameter, and with it the cache key; it also needs no file system that both client and worker can reach.
"""

# pyright: reportInvalidTypeArguments=false

import os

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

SCHEMA_FILE_NAME = "schema.pbtxt"


@component
def CuratedSchema(  # noqa: N802 (TFX components are named like classes)
    schema_text: Parameter[str],
    schema: OutputArtifact[standard_artifacts.Schema],
) -> None:
    """Writes a schema artifact.

    Args:
        schema_text: A `tensorflow.metadata.v0.Schema` in text format.
        schema: Output.
    """
    with tf.io.gfile.GFile(os.path.join(schema.uri, SCHEMA_FILE_NAME), "w") as file:
        file.write(schema_text)
