import os
from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from pipeline.local.killed import fail_killed_executions
from trainer_module.errors import DataError

Execution = metadata_store_pb2.Execution
STATES = (Execution.COMPLETE, Execution.RUNNING, Execution.CACHED, Execution.NEW, Execution.FAILED)


@pytest.fixture
def metadata(tmp_path) -> Path:
    """A store with an execution in each state, and an output of each."""
    file = tmp_path / "metadata.sqlite"
    store = open_store(file)
    type_id = store.put_execution_type(metadata_store_pb2.ExecutionType(name="component"))
    for number in store.put_executions([Execution(type_id=type_id, last_known_state=state) for state in STATES]):
        (tmp_path / "artifacts/p/C/output" / str(number)).mkdir(parents=True)
    return file


def open_store(file: Path) -> mlmd.MetadataStore:
    return mlmd.MetadataStore(tfx.orchestration.metadata.sqlite_metadata_connection_config(str(file)))


def test_unfinished_executions_are_failed_and_their_outputs_removed(metadata, tmp_path):
    assert fail_killed_executions(metadata, tmp_path / "artifacts") == 2
    states = [each.last_known_state for each in open_store(metadata).get_executions()]
    assert sorted(states) == sorted([Execution.COMPLETE, Execution.CACHED, *[Execution.FAILED] * 3])
    assert sorted(os.listdir(tmp_path / "artifacts/p/C/output")) == ["1", "3", "5"]
    assert fail_killed_executions(metadata, tmp_path / "artifacts") == 0


def test_no_store_is_no_fault(tmp_path):
    assert fail_killed_executions(tmp_path / "metadata.sqlite", tmp_path) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "text", "zeros"])
def test_a_damaged_store_is_named(damage, metadata, tmp_path):
    content = metadata.read_bytes()
    half = len(content) // 2
    damaged = {"cut": content[:half], "text": b"no database" * 99, "zeros": content[:4096] + bytes(len(content) - 4096)}
    metadata.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"metadata.sqlite: the metadata store cannot be read .* Move the file away"):
        fail_killed_executions(metadata, tmp_path)
