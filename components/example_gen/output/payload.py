"""Names of the formats of ingested examples, for whoever reads an experiment and needs no TFX."""

from typing import Literal

Payload = Literal["parquet", "tfrecord"]
