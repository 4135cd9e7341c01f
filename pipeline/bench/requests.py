"""Examples that requests are made of."""

import os

import tensorflow as tf

from pipeline.bench.components import EXAMPLES, Outputs
from trainer_module.data.example_files import read_file, serialized
from trainer_module.data.spec import QUERIES, DatasetSpec

_AT_MOST = 4096


def some_examples(outputs: Outputs, dataset: DatasetSpec) -> list[bytes]:
    """The first serialized examples of the test split, or of the queries where items are retrieved."""
    split = QUERIES if dataset.task == "retrieval" else "test"
    files = sorted(tf.io.gfile.glob(os.path.join(outputs.uris[EXAMPLES], f"Split-{split}", "*")))
    batch = next(batch for file in files for batch in read_file(file) if batch.num_rows)
    return serialized(batch.slice(0, _AT_MOST))
