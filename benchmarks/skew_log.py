"""Writes the log of a model server with a planted skew, to see what `recspan skew` finds.

    python -m benchmarks.skew_log runs/serving/films/2 -o skewed.jsonl --lower-case genres --scale age:12

Asks a pushed ranking model for rows of the test split that it was judged on, one request each, as a client does over
TensorFlow Serving's REST interface. A planted skew changes what the client sends, and the model answers that.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.ask.versions import load_model
from pipeline.lineage import examples_of
from trainer_module.data.example_files import read_file, serialized

SIGNATURE = "predict"


def main(
    version: Path,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    rows: Annotated[int, typer.Option(min=1, help="Number of requests.")] = 1000,
    answers: Annotated[Path | None, typer.Option(help="The version that answers; VERSION itself if not given.")] = None,
    lower_case: Annotated[list[str] | None, typer.Option(help="Column whose tokens are sent in lower case.")] = None,
    scale: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN:FACTOR", help="Column of numbers to scale.")
    ] = None,
) -> None:
    """Write a log of requests for the test split of a pushed ranking model."""
    from components.pusher.requests import request

    signature = load_model(answers or version, SIGNATURE).signatures[SIGNATURE]
    specs = signature.structured_input_signature[1]
    files = sorted(Path(examples_of(version), "Split-test").iterdir())
    examples = (row for file in files for batch in read_file(str(file)) for row in serialized(batch))
    factors = {column: float(factor) for column, _, factor in (each.rpartition(":") for each in scale or ())}
    with output.open("w", encoding="utf-8") as file:
        for example in islice(examples, rows):
            inputs = {name: value.numpy() for name, value in request(SIGNATURE, specs, [example]).items()}
            sent = {name: _sent(name, value.tolist(), lower_case or (), factors) for name, value in inputs.items()}
            found = signature(**{name: _tensor(value, specs[name]) for name, value in sent.items()})
            outputs = {name: value.numpy().tolist() for name, value in found.items()}
            predictions = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
            body = {"signature_name": SIGNATURE, "instances": [{name: value[0] for name, value in sent.items()}]}
            file.write(json.dumps({"request": body, "response": {"predictions": predictions}}) + "\n")


def _sent(name: str, values: Any, lower_case: Sequence[str], factors: Mapping[str, float]) -> Any:
    """What the client sends for values of a column, nested as they are."""
    if isinstance(values, list):
        return [_sent(name, value, lower_case, factors) for value in values]
    if isinstance(values, bytes):
        return values.decode().lower() if name in lower_case else values.decode()
    return values * factors.get(name, 1.0)


def _tensor(values: Any, spec: Any) -> Any:
    import tensorflow as tf

    return tf.constant(values, spec.dtype)


if __name__ == "__main__":
    typer.run(main)
