"""The file for Vertex AI Vector Search."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.retrieval_index.vertex import json_lines


def test_a_line_by_hand():
    lines = list(
        json_lines(
            ["i1", 'the "2"'],
            np.array([[0.5, -1.0], [1e-10, 3.0]], np.float32),
            [{"genres": ["War", "Käse"], "decade": []}, {"genres": []}],
        )
    )
    assert lines == [
        '{"id": "i1", "embedding": [0.5,-1], "restricts": [{"namespace": "genres", "allow": ["War", "Käse"]}]}\n',
        '{"id": "the \\"2\\"", "embedding": [1.00000001e-10,3]}\n',
    ]


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    arrays.arrays(np.float32, 3, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
)
def test_every_identifier_and_every_number_comes_back(item, vector):
    (line,) = json_lines([item], vector[np.newaxis], [{}])
    assert line.count("\n") == 1
    read = json.loads(line)
    assert read["id"] == item
    np.testing.assert_array_equal(np.array(read["embedding"], np.float32), vector)
