"""The file that Vertex AI Vector Search imports.

One JSON object per line, as in "Input data format and structure" of its documentation: `id`, `embedding` and, if asked
for, `restricts`. The index must be made for dimension `dim` and `DOT_PRODUCT_DISTANCE`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np


def json_lines(
    ids: Sequence[str], vectors: np.ndarray, restricts: Sequence[Mapping[str, Sequence[str]]]
) -> Iterator[str]:
    """One line per candidate, with its line break.

    Args:
        ids: Of the candidates.
        vectors: Finite, float32 `[candidates, dim]`.
        restricts: Of each candidate, the values by which it may be found, by namespace; empty ones are left out.
    """
    for item, vector, values in zip(ids, vectors.tolist(), restricts, strict=True):
        # Nine digits give every float32 back; Python's own seventeen would double the file.
        numbers = ",".join(f"{number:.9g}" for number in vector)
        allowed = [{"namespace": name, "allow": list(allow)} for name, allow in values.items() if allow]
        suffix = f', "restricts": {json.dumps(allowed, ensure_ascii=False)}' if allowed else ""
        yield f'{{"id": {json.dumps(item, ensure_ascii=False)}, "embedding": [{numbers}]{suffix}}}\n'
