"""Writes the import file of Vertex AI Vector Search.

The file has one JSON object per line, as described under "Input data format and structure" in its documentation: `id`,
`embedding` and optionally `restricts`. The index must have dimension `dim` and use `DOT_PRODUCT_DISTANCE`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np


def json_lines(
    ids: Sequence[str], vectors: np.ndarray, restricts: Sequence[Mapping[str, Sequence[str]]]
) -> Iterator[str]:
    """Yields one line per candidate, including the line break.

    Args:
        ids: Identifiers of the candidates.
        vectors: Finite float32 vectors `[candidates, dim]`.
        restricts: Filter values of each candidate by namespace. Namespaces without values are omitted.
    """
    for item, vector, values in zip(ids, vectors.tolist(), restricts, strict=True):
        # Nine digits reproduce every float32. Python's default of up to seventeen would double the file size.
        numbers = ",".join(f"{number:.9g}" for number in vector)
        allowed = [{"namespace": name, "allow": list(allow)} for name, allow in values.items() if allow]
        suffix = f', "restricts": {json.dumps(allowed, ensure_ascii=False)}' if allowed else ""
        yield f'{{"id": {json.dumps(item, ensure_ascii=False)}, "embedding": [{numbers}]{suffix}}}\n'
