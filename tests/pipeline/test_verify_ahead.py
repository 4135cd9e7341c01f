"""When a model is verified before its verdict is known."""

from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.pusher import fresh_process
from pipeline.config import load_config
from pipeline.local import execution

_SIZE = 1000


@pytest.fixture
def model(tmp_path) -> standard_artifacts.Model:
    """A model of `_SIZE` bytes."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path)
    directory = tmp_path / "Format-Serving" / "variables"
    directory.mkdir(parents=True)
    (directory / "variables.data").write_bytes(b"0" * _SIZE)
    return artifact


@pytest.fixture
def calls(monkeypatch) -> list:
    """What the process that verifies was told."""
    calls = []
    monkeypatch.setattr(fresh_process, "begin", lambda *directories: calls.append(directories))
    monkeypatch.setattr(fresh_process, "prepare", lambda: calls.append("prepare"))
    return calls


def test_a_model_with_room_for_two_is_verified_while_it_is_judged(model, calls, monkeypatch):
    monkeypatch.setattr(execution, "available_bytes", lambda: 4 * _SIZE + 1)
    execution._verify_ahead(load_config(), {"trained_model": model})
    assert calls == [(str(Path(model.uri, "Format-Serving")), str(Path(model.uri, "parity")))]


@pytest.mark.parametrize(("available", "budget"), [(4 * _SIZE, None), (10**9, 16)])
def test_without_room_or_under_a_budget_it_is_verified_after_its_verdict(model, calls, monkeypatch, available, budget):
    monkeypatch.setattr(execution, "available_bytes", lambda: available)
    execution._verify_ahead(load_config(overrides={"memory_gb": budget} if budget else {}), {"trained_model": model})
    assert calls == ["prepare"]


def test_the_index_is_what_is_verified_where_there_is_one(model, calls, tmp_path):
    index = standard_artifacts.Model()
    index.uri = str(tmp_path / "index")
    execution._verify_ahead(load_config(), {"trained_model": model, "model": index})
    ((directory, _),) = calls
    assert directory.startswith(index.uri)
