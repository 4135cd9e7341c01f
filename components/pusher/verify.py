"""Checks that a SavedModel serves with plain TensorFlow on a CPU.

Runs as a script in a new process, isolated from the product's other modules:
`python -I verify.py` reads `[MODEL_DIR, PARITY_DIR, REPORT]` (JSON) from its standard input. Where that ends without a
word, there is nothing to verify.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

EXAMPLES_FILE, EXPECTED_FILE, FACTS_FILE = "examples.tfrecord.gz", "expected.npz", "parity.json"
UNKNOWN_TOKEN = "a token that no vocabulary holds"

# Operations of TPUs, their embedding engine and SparseCores. Plain TensorFlow Serving has no CPU kernel for them.
TPU_OPERATION = re.compile(r"TPU|XlaSparseDense|XlaSparseCore|XlaRecv|XlaSend|SparseCore")

Answers = Mapping[str, np.ndarray]


class VerificationError(Exception):
    """A check of the model failed."""


def verify(model_dir: str, parity_dir: str) -> dict:
    """Loads a SavedModel and calls its signatures.

    Checks that

    - the model has no TPU operation and no optimizer slot;
    - all expected signatures exist;
    - they return the training model's answers for batches of 0, 1 and N examples;
    - they return finite numbers for unknown tokens.

    Args:
        model_dir: A SavedModel whose signatures take serialized examples, as `examples`, or one tensor per column.
        parity_dir: Contains `examples.tfrecord.gz`; the training model's answers `expected.npz`, `[num_examples, ...]`
            by `SIGNATURE/OUTPUT`; and `parity.json` with the largest allowed difference, `absolute` plus `relative`
            times the expected number, and what is special about each row.

    Returns:
        A JSON-serializable report.

    Raises:
        VerificationError: A check failed; the message names it and the value found.
    """
    num_operations = check_contents(model_dir)
    facts = json.loads(Path(parity_dir, FACTS_FILE).read_text())
    tolerance, kinds = facts["tolerance"], facts["kinds"]
    records = tf.data.TFRecordDataset(str(Path(parity_dir, EXAMPLES_FILE)), "GZIP")
    examples = [record.numpy() for record in records]
    expected: dict[str, dict[str, np.ndarray]] = {}
    for name, answers in np.load(Path(parity_dir, EXPECTED_FILE)).items():
        signature, _, output = name.partition("/")
        expected.setdefault(signature, {})[output] = answers
    model = tf.saved_model.load(model_dir)
    if missing := set(expected) - set(model.signatures):
        raise VerificationError(f"signature(s) {sorted(missing)} missing; found {sorted(model.signatures)}")
    batch_sizes = sorted({0, 1, len(examples)})
    differences, shares = [], []
    for name, answers in expected.items():
        ask = _asking(model.signatures[name])
        for size in batch_sizes:
            answered = ask(examples[:size])
            what = f"{name}, batch of {size}"
            if set(answered) != set(answers):
                raise VerificationError(f"{what}: outputs {sorted(answered)} instead of {sorted(answers)}")
            for output, wanted in answers.items():
                found = _difference(f"{what}: {output}", answered[output], wanted[:size], tolerance, kinds)
                differences.append(found[0])
                shares.append(found[1])
        _check_unknown_tokens(model.signatures[name], examples)
    if "tensorflow_recommenders" in sys.modules or "tfx" in sys.modules:
        raise VerificationError("the process that was to prove plain TensorFlow enough has imported more than that")
    return {
        "signatures": sorted(model.signatures),
        "batch_sizes": batch_sizes,
        "operations": num_operations,
        "rows": len(examples),
        "largest_difference": max(differences),
        "share_of_tolerance": max(shares),
        "tolerance": tolerance,
    }


def check_contents(model_dir: str) -> int:
    """Checks the graph and the variables of a SavedModel without running it, and returns the number of operations.

    Raises:
        VerificationError: The model has a TPU operation or an optimizer slot.
    """
    saved = saved_model_pb2.SavedModel.FromString(Path(model_dir, "saved_model.pb").read_bytes())
    count = 0
    for graph in saved.meta_graphs:
        for where, operation in _operations(graph.graph_def):
            count += 1
            if TPU_OPERATION.search(operation):
                raise VerificationError(f"{where} holds the TPU operation {operation}, which no CPU can run")
        if slots := _slots(graph.object_graph_def):
            raise VerificationError(f"the model holds optimizer slots, which serving does not need: {', '.join(slots)}")
    return count


def _operations(graph: tf.compat.v1.GraphDef) -> Iterator[tuple[str, str]]:
    """Location and type of each operation."""
    for node in graph.node:
        yield f"node {node.name}", node.op
    for function in graph.library.function:
        for node in function.node_def:
            yield f"node {node.name} of function {function.signature.name}", node.op


def _slots(objects) -> list[str]:
    """Names of optimizer slots in a SavedModel's object graph.

    A variable is a slot if an optimizer declares it as one, or if its name extends that of another variable of the
    same shape, such as `user/accumulator` and `user`.
    """
    declared = {slot.slot_variable_node_id for node in objects.nodes for slot in node.slot_variables}
    variables = [
        (number, node.variable.name.partition(":")[0], [dim.size for dim in node.variable.shape.dim])
        for number, node in enumerate(objects.nodes)
        if node.WhichOneof("kind") == "variable"
    ]
    shapes = {name: shape for _, name, shape in variables}
    return [
        name
        for number, name, shape in variables
        if number in declared or ("/" in name and shapes.get(name.rpartition("/")[0]) == shape)
    ]


def _asking(signature: Callable[..., Mapping[str, tf.Tensor]]) -> Callable[[list[bytes]], Answers]:
    """Returns a function that calls a signature with serialized examples, converted to its input format."""
    specs = signature.structured_input_signature[1]
    if _takes_examples(specs):
        return lambda examples: _numpy(signature(examples=tf.constant(examples, tf.string)))
    return lambda examples: _numpy(signature(**request_columns(examples, specs)))


def _takes_examples(specs: Mapping[str, tf.TensorSpec]) -> bool:
    return set(specs) == {"examples"}


def _check_unknown_tokens(signature: Callable[..., Mapping[str, tf.Tensor]], examples: list[bytes]) -> None:
    specs = signature.structured_input_signature[1]
    if _takes_examples(specs):
        return  # the signature with one tensor per column uses the same functions
    unknown = {
        name: tf.fill(tf.shape(value), UNKNOWN_TOKEN) if value.dtype == tf.string else value
        for name, value in request_columns(examples, specs).items()
    }
    for name, answers in _numpy(signature(**unknown)).items():
        if not np.all(np.isfinite(answers)):
            raise VerificationError(f"{name} is {answers[~np.isfinite(answers)][0]} for unknown tokens")


def request_columns(examples: list[bytes], specs: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """Converts serialized examples to named tensors, as a client would send them.

    Args:
        examples: Serialized `tf.Example`s.
        specs: Specs of the signature's inputs: `[batch]`, or `[batch, values]` for multivalent columns.

    Returns:
        Tensors by column. Missing numbers are NaN; short token lists are padded with empty strings (or -1).
    """
    features = [tf.train.Example.FromString(example).features.feature for example in examples]
    columns = {}
    for name, spec in specs.items():
        values = [list(getattr(row[name], row[name].WhichOneof("kind") or "bytes_list").value) for row in features]
        filler = {tf.string: b"", tf.float32: np.nan}.get(spec.dtype, -1)
        width = max([1, *map(len, values)])
        filled = [row + [filler] * (width - len(row)) for row in values]
        cells = filled if spec.shape.rank == 2 else [row[0] for row in filled]
        columns[name] = tf.constant(cells, spec.dtype, shape=[len(examples), width][: spec.shape.rank])
    return columns


def _difference(
    what: str, actual: np.ndarray, expected: np.ndarray, tolerance: Mapping[str, float], kinds: list[str]
) -> tuple[float, float]:
    """The largest difference, and the largest share that a difference has of what is allowed."""
    if actual.shape != expected.shape:
        raise VerificationError(f"{what}: shape {actual.shape} instead of {expected.shape}")
    if not actual.size:
        return 0.0, 0.0
    differences = np.abs(actual - expected)
    allowed = tolerance["absolute"] + tolerance["relative"] * np.abs(expected)
    shares = differences / allowed
    if not (largest := float(np.max(shares))) <= 1:
        at = np.unravel_index(np.argmax(shares), shares.shape)
        kind = f" ({kinds[at[0]]})" if kinds else ""
        raise VerificationError(
            f"{what}: {actual[at]} instead of {expected[at]} in row {at[0]}{kind}; largest allowed difference "
            f"{allowed[at]:.2g}"
        )
    return float(np.max(differences)), largest


def _numpy(answers: Mapping[str, tf.Tensor]) -> Answers:
    return {name: answer.numpy() for name, answer in answers.items()}


if __name__ == "__main__":
    if paths := sys.stdin.read():
        model, parity, report_file = json.loads(paths)
        try:
            report = verify(model, parity)
        except VerificationError as error:
            sys.exit(str(error))
        Path(report_file).write_text(json.dumps(report))
