"""Checks that the indexed towers give the same answers as the training model."""

import io
import os

import numpy as np
import tensorflow as tf

from components.retrieval_index.towers import Towers
from trainer_module.errors import ModelError
from trainer_module.export.parity import EXAMPLES_FILE, EXPECTED_FILE, FACTS_FILE, load_expected
from trainer_module.models.signatures import EMBED_CANDIDATES, EMBEDDING


def check_candidates(towers: Towers, parity_dir: str) -> float:
    """Compares the candidate tower with that of the training model and returns the largest difference.

    The index contains the candidates' vectors but not their tower, so a later check is impossible.

    Raises:
        ModelError: The towers differ by more than the Trainer allows.
    """
    answers, tolerance = load_expected(parity_dir)
    examples = list(tf.data.TFRecordDataset(os.path.join(parity_dir, EXAMPLES_FILE), "GZIP").as_numpy_iterator())
    expected = answers[EMBED_CANDIDATES][EMBEDDING]
    difference = np.abs(towers.candidates(tf.constant(examples)).numpy() - expected)
    largest = float(difference.max())
    if not np.all(difference <= tolerance.allowed(expected)):
        raise ModelError(
            f"the candidate tower in {towers.directory} differs from the training model by {largest}; at most "
            f"{tolerance.absolute:g} and {tolerance.relative:g} of the number are allowed"
        )
    return largest


def pass_on(source: str, destination: str) -> None:
    """Copies the parity sample without the candidate tower's answers, for the verification of the index."""
    tf.io.gfile.makedirs(destination)
    for name in (EXAMPLES_FILE, FACTS_FILE):
        tf.io.gfile.copy(os.path.join(source, name), os.path.join(destination, name), overwrite=True)
    answers, _ = load_expected(source)
    kept = {
        f"{signature}/{output}": values
        for signature, outputs in answers.items()
        if signature != EMBED_CANDIDATES
        for output, values in outputs.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **kept)
    with tf.io.gfile.GFile(os.path.join(destination, EXPECTED_FILE), "wb") as file:
        file.write(buffer.getvalue())
