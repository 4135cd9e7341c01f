"""The component as TFX runs it: driver, executor, metadata."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.orchestration.metadata import Metadata
from tfx.utils import path_utils

from components.retrieval_index.build import FAISS_DIRECTORY, VERTEX_FILE
from components.retrieval_index.component import REPORT_FILE, RetrievalIndex
from components.retrieval_index.config import RetrievalIndexConfig
from trainer_module.errors import DataError, ModelError
from trainer_module.export import parity
from trainer_module.source_hash import source_hash

from .world import CATALOG, EAST, NORTH, query, save_training_facts, serialize, write


class Run:
    """Runs a pipeline of the component on imported examples and towers."""

    def __init__(self, root: Path, towers_dir: str):
        write(root / "examples" / "Split-candidates" / "data-00001-of-00002.gz", CATALOG[3:])
        write(root / "examples" / "Split-candidates" / "data-00000-of-00002.gz", CATALOG[:3])
        write(root / "examples" / "Split-queries" / "data-00000-of-00001.gz", [query(EAST), query(NORTH)])
        save_training_facts(towers_dir)
        self.root = root
        self.model_dir = str(Path(towers_dir).parent)
        self.connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))

    def run(
        self, splits=("train", "candidates", "queries"), sources: str = "", quantize: str = "none", **config
    ) -> None:
        examples = tfx.dsl.Importer(
            source_uri=str(self.root / "examples"),
            artifact_type=tfx.types.standard_artifacts.Examples,
            properties={"split_names": json.dumps(splits)},
        ).with_id("Examples")
        model = tfx.dsl.Importer(source_uri=self.model_dir, artifact_type=tfx.types.standard_artifacts.Model).with_id(
            "Towers"
        )
        index = RetrievalIndex(
            examples=examples.outputs["result"],
            model=model.outputs["result"],
            item_key="item",
            title_key="title",
            config=RetrievalIndexConfig.model_validate(config).model_dump_json(),
            quantize=quantize,
            source_hash=sources or source_hash(RetrievalIndex.__module__),
        )
        pipeline = tfx.dsl.Pipeline(
            "test",
            str(self.root / "artifacts"),
            components=[examples, model, index],
            metadata_connection_config=self.connection,
            enable_cache=True,
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)

    def states(self) -> list[int]:
        """How each execution of the component ended."""
        with Metadata(self.connection) as handle:
            executions = handle.store.get_executions_by_type(f"{RetrievalIndex.__module__}.RetrievalIndex")
        return [execution.last_known_state for execution in executions]

    def indexes(self) -> list[str]:
        """Where published indexes lie."""
        with Metadata(self.connection) as handle:
            models = handle.store.get_artifacts_by_type("Model")
        return [model.uri for model in models if model.state == metadata_store_pb2.Artifact.LIVE][1:]


@pytest.fixture
def run(tmp_path, towers_dir) -> Run:
    return Run(tmp_path, towers_dir)


def test_a_quantized_index_has_the_float32_one_beside_it(run):
    shutil.copytree(Path(run.model_dir, "Format-Serving"), Path(run.model_dir, "float32"), dirs_exist_ok=True)
    run.run(recall_k=3, quantize="int8")
    (uri,) = run.indexes()
    examples = tf.constant([serialize(query(EAST, seen=["i0"]))])
    for directory, dtype in ((Path(uri, "float32"), tf.float32), (path_utils.serving_model_path(uri), tf.int8)):
        model = tf.saved_model.load(str(directory))
        found = model.signatures["serving_default"](examples=examples)["ids"][0, :4].numpy().tolist()
        assert found == [b"i3", b"i2", b"i4", b"i1"]
        assert dtype in {variable.dtype for variable in model.signatures["recommend"].variables}
    assert json.loads(Path(uri, REPORT_FILE).read_text())["int8_recall"] == 1


def test_an_index_is_published_and_cached(run):
    run.run(recall_k=3)
    (uri,) = run.indexes()
    model_dir = path_utils.serving_model_path(uri)
    served = tf.saved_model.load(model_dir).signatures["serving_default"](
        examples=tf.constant([serialize(query(EAST, seen=["i0"]))])
    )
    assert served["ids"][0, :5].numpy().tolist() == [b"i3", b"i2", b"i4", b"i1", b""]
    assert not Path(uri, "float32").exists()
    # The order of candidates is that of the files' names.
    assert Path(model_dir, FAISS_DIRECTORY, "ids.txt").read_text().split() == ["i0", "i1", "i2", "i3", "i4"]
    assert Path(model_dir, VERTEX_FILE).exists()
    expected, _ = parity.load_expected(str(Path(uri, parity.PARITY_DIRECTORY)))
    assert set(expected) == {"embed_queries", "embed_query"}
    assert Path(uri, "training.json").exists()
    report = json.loads(Path(uri, REPORT_FILE).read_text())
    assert (report["recall"], report["candidates"], report["holds"]) == (1, 5, True)
    run.run(recall_k=3)
    run.run(recall_k=3, sources="edited")
    complete, cached = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED
    assert run.states() == [complete, cached, complete]


def test_an_index_that_finds_too_little_is_not_published(run, monkeypatch, caplog):
    monkeypatch.setattr("components.retrieval_index.build.recall", lambda queries, *_: queries[:, 0] * 0)
    with caplog.at_level(logging.INFO), pytest.raises(ModelError, match=r"recall@3 0\.0000 against .* asks for 0\.95"):
        run.run(recall_k=3)
    assert '"holds": false' in caplog.text, "the report outlives the artifact in the log"
    assert run.states() == [metadata_store_pb2.Execution.FAILED]
    assert run.indexes() == []


def test_examples_of_another_task_are_refused(run):
    with pytest.raises(DataError, match="no split candidates, only train, eval; an index needs a dataset whose task"):
        run.run(splits=["train", "eval"])


def test_a_candidate_tower_that_is_not_the_trained_one_is_refused(run):
    directory = Path(run.model_dir, parity.PARITY_DIRECTORY)
    answers, _ = parity.load_expected(str(directory))
    answers["embed_candidates"]["embedding"] += 0.01
    parity.save_expected(str(directory), answers, "float32")
    with pytest.raises(ModelError, match=r"candidate tower in .* differs from the training model by 0\.0"):
        run.run(recall_k=3)
