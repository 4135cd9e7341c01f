"""The training loop, traced for TPUs of every kind, and what TensorFlow's TPU bridge makes of it."""

import pytest
import tensorflow as tf

from tests.tpu.conftest import nodes, operations
from tpu_worker.tpu_lowering import run_tpu_bridge
from trainer_module.errors import ModelError


def test_v1_enqueues_receives_and_sends_gradients_of_one_call(model, trace):
    assert_one_call_of_the_engine(trace(model, "V1"))


def test_v1_with_pipelining_does_so_as_well(table_model, trace):
    assert_one_call_of_the_engine(trace(table_model, "V1", pipelining=True))


def assert_one_call_of_the_engine(graph: tf.Graph) -> None:
    traced = operations(graph)
    assert traced["EnqueueTPUEmbeddingArbitraryTensorBatch"] == 1
    assert traced["RecvTPUEmbeddingActivations"] == 1
    assert traced["SendTPUEmbeddingGradients"] == 1
    # The compiler pairs them by this attribute.
    calls = {node.attr["_tpu_embedding_layer"].s for node in nodes(graph) if "_tpu_embedding_layer" in node.attr}
    assert len(calls) == 1


def test_v2_looks_up_and_updates_in_the_sparse_cores(model, trace):
    traced = operations(trace(model, "V2"))
    lookups = traced["XlaSparseDenseMatmulWithStaticBufferSize"]
    assert lookups > 0
    assert traced["XlaSparseDenseMatmulGradWithAdagradAndStaticBufferSize"] == lookups
    assert traced["ConvertToSparseCoreCsrWrappedCooTensor"] == lookups
    assert not traced["SendTPUEmbeddingGradients"]


@pytest.mark.parametrize(("pipelining", "stages"), [(False, set()), (True, {b"forward", b"backward"})])
def test_v2_marks_the_stages_of_its_pipeline(table_model, trace, pipelining, stages):
    graph = trace(table_model, "V2", pipelining)
    marked = {node.attr["_embedding_pipelining"].s for node in nodes(graph) if "_embedding_pipelining" in node.attr}
    assert marked == stages


def test_without_an_engine_tables_are_replicated_and_their_gradients_summed(model, trace):
    with_engine, without = operations(trace(model, "V1")), operations(trace(model, "UNSUPPORTED"))
    assert not without["EnqueueTPUEmbeddingArbitraryTensorBatch"]
    # Adagrad is the tables' optimizer alone.
    assert not with_engine["ResourceApplyAdagradV2"]
    assert without["ResourceApplyAdagradV2"] == len(model.spec.tables)
    assert without["CrossReplicaSum"] > len(model.spec.tables)


@pytest.mark.parametrize(
    ("feature", "engine_operation"),
    [("V1", "RecvTPUEmbeddingActivations"), ("V2", "XlaSparseDenseMatmul"), ("UNSUPPORTED", "tf.GatherV2")],
)
def test_the_bridge_makes_one_device_program(model, trace, feature, engine_operation):
    bridged = run_tpu_bridge(trace(model, feature))
    assert bridged.count("tf_device.replicate") == 1
    assert engine_operation in bridged


def test_the_bridge_makes_one_device_program_with_pipelining(table_model, trace):
    bridged = run_tpu_bridge(trace(table_model, "V1", pipelining=True))
    assert bridged.count("tf_device.replicate") == 1
    assert "RecvTPUEmbeddingActivations" in bridged


def test_a_graph_without_a_step_is_no_device_program():
    with tf.Graph().as_default() as graph:
        tf.constant(1.0)
    with pytest.raises(ModelError, match="made no device program"):
        run_tpu_bridge(graph)
