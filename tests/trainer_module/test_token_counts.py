"""Vocabularies counted in Arrow beside those of `tft.vocabulary`."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from trainer_module.data.token_counts import TokenFile, vocabularies

WORDS = [b"a", b"ab", b"b", b" b ", b"\xc3\xa9", b"", b"two\nlines", b"a\rb", b"49d0", b"10", b"9"]
FILES = (
    TokenFile("words", 0, "string"),
    TokenFile("words_counts", 0, "string", with_counts=True),
    TokenFile("frequent_words", 0, "string", min_frequency=40),
    TokenFile("four_words", 0, "string", top_k=4),
    TokenFile("numbers", 1, "int64"),
    TokenFile("four_numbers", 1, "int64", top_k=4, min_frequency=2),
    TokenFile("no_number", 1, "int64", min_frequency=10**6),
    TokenFile("nothing", 2, "string"),
    TokenFile("nothing_counts", 2, "string", with_counts=True),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """Assets of a transform graph with each file twice: ours, and as `tft.vocabulary` writes it, named `stock_...`."""
    random = np.random.default_rng(0)
    rows = [
        {
            "word": WORDS[min(int(random.geometric(0.2)) - 1, len(WORDS) - 1)],
            "number": int(random.integers(-20, 20)) * 10**16,
            "empty": b"",
        }
        for _ in range(500)
    ]
    columns = {"word": tf.string, "number": tf.int64, "empty": tf.string}
    metadata = dataset_metadata.DatasetMetadata(
        schema_utils.schema_from_feature_spec(
            {name: tf.io.FixedLenFeature([], dtype) for name, dtype in columns.items()}
        )
    )

    def preprocessing_fn(inputs):
        tokens = [inputs[name] for name in columns]
        vocabularies(tokens, FILES)
        for file in FILES:
            tft.vocabulary(
                tokens[file.table],
                vocab_filename=f"stock_{file.name}",
                frequency_threshold=file.min_frequency,
                top_k=file.top_k,
                store_frequency=file.with_counts,
            )
        return dict(inputs)

    root = tmp_path_factory.mktemp("token_counts")
    # Batches of seven rows, so that counts of many batches are added up.
    with tft_beam.Context(str(root / "temp"), desired_batch_size=7):
        graph = (rows, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = graph | tft_beam.WriteTransformFn(str(root / "graph"))
    return root / "graph" / "transform_fn" / "assets"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_are_those_of_tft_byte_by_byte(directory, file):
    (stock,) = directory.glob(f"*stock_{file.name}")
    ours = (directory / file.name).read_bytes()
    assert ours == stock.read_bytes()
    assert ours.endswith(b"\n")


def test_the_files_differ_as_they_were_asked_for(directory):
    lines = {file.name: (directory / file.name).read_bytes().split(b"\n")[:-1] for file in FILES}
    assert {name: len(of_file) for name, of_file in lines.items()} == {
        "words": 8,
        "words_counts": 8,
        "frequent_words": len(lines["frequent_words"]),
        "four_words": 4,
        "numbers": 40,
        "four_numbers": 4,
        "no_number": 1,
        "nothing": 1,
        "nothing_counts": 1,
    }
    assert 1 < len(lines["frequent_words"]) < 8
    assert lines["words"][0] == b"a"
    assert lines["four_words"] == lines["words"][:4]
    assert lines["no_number"] == [b"-1"]


@given(
    counts=st.dictionaries(st.binary(min_size=1, max_size=3), st.integers(1, 5), max_size=20),
    min_frequency=st.integers(1, 5),
    top_k=st.none() | st.integers(1, 20),
)
def test_lines_are_ordered_by_frequency_then_token(counts, min_frequency, top_k):
    table = pa.table({"token": pa.array(counts, pa.large_binary()), "count": pa.array(counts.values(), pa.int64())})
    kept = {token: count for token, count in Counter(counts).items() if count >= min_frequency}
    expected = sorted(kept, key=lambda token: (kept[token], token), reverse=True)[:top_k]
    file = TokenFile("tokens", 0, "string", min_frequency, top_k)
    found = file.lines(table).to_pylist()
    assert found == expected or (not expected and len(found) == 1)
