"""TFX's own Evaluator on a small catalog with a model whose answers are known."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from components.pusher.summary import evaluation_summary
from components.retrieval_evaluation import extractors
from components.retrieval_evaluation.config import BaselinesConfig
from components.retrieval_evaluation.judged import write_judged
from pipeline.config import EvaluationConfig
from pipeline.retrieval_evaluation import retrieval_eval_config
from trainer_module.datasets import dataset_spec
from trainer_module.datasets.movielens import MOVIELENS_100K_RETRIEVAL as DATASET
from trainer_module.errors import DataError

# Item i0 has ten training rows, i1 nine, and so on to i10 and i11 with none; the head is i0 and i1.
ITEMS = [f"i{number}" for number in range(12)]
COUNTS = [max(0, 10 - number) for number in range(12)]


def example(**columns):
    features = {}
    for name, values in columns.items():
        if all(isinstance(value, int) for value in values):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            tokens = tf.train.BytesList(value=[value.encode() for value in values])
            features[name] = tf.train.Feature(bytes_list=tokens)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def query(user, gender, seen, relevant):
    groups = {"gender": [gender], "age_group": ["20-29"], "user_activity": ["1-9"]}
    return example(user_id=[user], seen=seen, relevant=relevant, **groups)


QUERIES = [
    query("u0", "F", ["i0"], ["i2", "i11"]),
    query("u1", "M", ["i0", "i1"], ["i3"]),
]


def write(directory: Path, records):
    directory.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(directory / "data.gz"), "GZIP") as writer:
        for record in records:
            writer.write(record)
    return str(directory)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("examples")
    rows = [
        example(user_id=[f"u{n}"], movie_id=[item])
        for item, count in zip(ITEMS, COUNTS, strict=True)
        for n in range(count)
    ]
    return {
        "train": write(root / "train", rows),
        "eval": write(root / "eval", [example(user_id=["u0"], movie_id=["i0"])]),
        "candidates": write(
            root / "candidates", [example(movie_id=[i], train_count=[c]) for i, c in zip(ITEMS, COUNTS, strict=True)]
        ),
        "queries": write(root / "queries", QUERIES),
    }


class Ranker(tf.Module):
    """Answers every query with the same list."""

    def __init__(self, order):
        super().__init__()
        self.order = tf.constant(order)
        self.counts = tf.constant([COUNTS[ITEMS.index(item)] for item in order], tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(self, examples):
        parsed = tf.io.parse_example(examples, {"user_id": tf.io.FixedLenFeature([], tf.string)})
        rows = tf.size(parsed["user_id"])
        repeated = {"ids": self.order, "titles": self.order, "train_counts": self.counts}
        answers = {name: tf.repeat(values[tf.newaxis], rows, axis=0) for name, values in repeated.items()}
        return answers | {"scores": tf.zeros([rows, tf.size(self.order)])}


@tfx.dsl.components.component
def Model(order: tfx.dsl.components.Parameter[str], model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model]):  # noqa: N802
    ranker = Ranker(json.loads(order))
    tf.saved_model.save(ranker, model.uri + "/Format-Serving", {"serving_default": ranker.serve})


@tfx.dsl.components.component
def Judged(  # noqa: N802
    splits: tfx.dsl.components.Parameter[str], examples: tfx.dsl.components.OutputArtifact[standard_artifacts.Examples]
):
    examples.split_names = '["queries"]'
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    write_judged(json.loads(splits), examples.uri + "/Split-queries", DATASET.name, BaselinesConfig(regularization=1.0))


def evaluate(root: Path, splits, order, baseline_order=None, **thresholds):
    """Metrics of the slices by name, the failures, and whether there is a blessing."""
    judged = Judged(splits=json.dumps(splits))
    model = Model(order=json.dumps(order)).with_id("Candidate")
    components = [judged, model]
    baseline = None
    if baseline_order:
        baseline = Model(order=json.dumps(baseline_order)).with_id("Last")
        components.append(baseline)
    evaluator = tfx.components.Evaluator(
        examples=judged.outputs["examples"],
        model=model.outputs["model"],
        baseline_model=baseline.outputs["model"] if baseline else None,
        eval_config=retrieval_eval_config(EvaluationConfig(**thresholds), dataset_spec(DATASET.name)),
        example_splits=["queries"],
        module_path=extractors.__name__,
    )
    metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    pipeline = tfx.dsl.Pipeline(
        "test", str(root), components=[*components, evaluator], metadata_connection_config=metadata
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    (uri,) = (root / "Evaluator" / "evaluation").iterdir()
    summary = evaluation_summary(str(uri))
    slices = {row["slice"]: row for row in summary["slices"]}
    return slices, summary["failures"], bool(list(root.glob("Evaluator/blessing/*/BLESSED")))


def test_metrics_of_a_known_list_and_a_blessing(tmp_path, splits):
    # u0 hits at rank 1 (i11, cold) and misses i2; u1 hits at rank 2.
    order = ["i11", "i3", "i4", "i5", "i6", "i7", "i8", "i9", "i10", "i1"]
    slices, failures, blessed = evaluate(tmp_path, splits, order, beat_baseline="none", min_ndcg_at_10=0.5)
    overall = slices["overall"]
    discount = 1 / tf.math.log(3.0).numpy() * tf.math.log(2.0).numpy()
    assert overall["ndcg_at_10"] == pytest.approx((1 / (1 + discount) + discount) / 2, abs=1e-6)
    assert overall["recall_at_10"] == (0.5 + 1) / 2
    assert overall["mrr"] == (1 + 0.5) / 2
    assert overall["coverage_at_10"] == 10 / 12
    assert overall["example_count"] == 2
    assert overall["recall_at_10_cold"] == 1
    assert overall["recall_at_10_tail"] == (0 + 1) / 2
    # Popularity recommends u0 i1, i2 ...: i2 at rank 2. u1: i2, i3 ...: i3 at rank 2.
    assert overall["popularity_ndcg_at_10"] == pytest.approx((discount / (1 + discount) + discount) / 2, abs=1e-6)
    assert slices["gender=M"]["recall_at_10"] == 1
    assert slices["gender=F"]["recall_at_10"] == 0.5
    assert overall["ndcg_at_10_low"] <= overall["ndcg_at_10"] <= overall["ndcg_at_10_high"]
    assert not failures and blessed


def test_a_model_below_popularity_is_refused(tmp_path, splits):
    order = ["i9", "i8", "i7", "i6", "i5", "i4", "i10", "i1", "i0", "i3"]
    slices, failures, blessed = evaluate(tmp_path, splits, order)
    assert slices["overall"]["ndcg_at_10_over_popularity"] < 0
    assert len(failures) == 1 and "ndcg_at_10_over_popularity" in failures[0]
    assert not blessed


def test_a_model_worse_than_the_last_blessed_one_is_refused(tmp_path, splits):
    best = ["i11", "i3", "i4", "i5", "i6", "i7", "i8", "i9", "i10", "i1"]
    worse = ["i4", "i5", "i3", "i6", "i7", "i8", "i9", "i10", "i1", "i11"]
    slices, failures, blessed = evaluate(tmp_path, splits, worse, best, beat_baseline="none")
    assert slices["overall"]["ndcg_at_10_diff"] < 0
    assert len(failures) == 1 and "ndcg_at_10" in failures[0]
    assert not blessed


def test_large_catalogs_leave_out_what_does_not_fit(tmp_path, splits):
    report = write_judged(splits, str(tmp_path / "judged"), DATASET.name, BaselinesConfig(max_items=11))
    assert report["computed"] == ["popularity"]
    assert report["left_out"]["ease"] == "the catalog has 12 items, more than max_items 11"


def test_an_item_outside_the_catalog_is_named(tmp_path, splits):
    stray = write(tmp_path / "stray", [query("u0", "F", ["i99"], ["i2"])])
    with pytest.raises(DataError, match="column seen: item b'i99' is not among"):
        write_judged(splits | {"queries": stray}, str(tmp_path / "judged"), DATASET.name, BaselinesConfig())
