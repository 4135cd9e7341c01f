import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.pusher.publish import finished_push, latest_version, publish, versions_of


@pytest.fixture
def model(tmp_path: Path) -> str:
    directory = tmp_path / "model"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_text("graph")
    (directory / "variables" / "variables.index").write_text("index")
    return str(directory)


def test_versions_count_up_and_hold_the_whole_model(model, tmp_path):
    base = tmp_path / "serving"
    assert latest_version(base) is None
    first, second = (publish(model, str(base), {"summary.json": text}) for text in (b"{}", b"[]"))
    assert [first.name, second.name] == ["1", "2"]
    assert (first / "variables" / "variables.index").read_text() == "index"
    assert (second / "summary.json").read_text() == "[]"
    assert latest_version(base) == second


def test_a_model_server_that_runs_as_another_user_may_read_it(model, tmp_path):
    assert publish(model, str(tmp_path / "serving"), {}).stat().st_mode & 0o755 == 0o755


def test_version_10_comes_after_9(tmp_path):
    for name in ("9", "10", "not-a-version"):
        (tmp_path / name).mkdir()
    assert versions_of(tmp_path) == [9, 10]
    assert latest_version(tmp_path) == tmp_path / "10"


def test_a_failure_leaves_nothing_behind(model, tmp_path):
    base = tmp_path / "serving"
    publish(model, str(base), {})
    with pytest.raises(TypeError):
        publish(model, str(base), {"summary.json": None})
    assert [entry.name for entry in base.iterdir()] == ["1"]


def test_a_version_that_appears_meanwhile_is_not_overwritten(model, tmp_path, monkeypatch):
    base = tmp_path / "serving"
    rename = os.rename

    def late(source, target):
        if Path(target).name == "1" and not Path(target).exists():
            (Path(target) / "variables").mkdir(parents=True)
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert publish(model, str(base), {}).name == "2"
    assert not (base / "1" / "saved_model.pb").exists()


def test_pushes_at_the_same_time_get_versions_of_their_own(model, tmp_path):
    base = str(tmp_path / "serving")
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: publish(model, base, {}), range(16)))
    assert len(set(paths)) == 16
    assert versions_of(Path(base)) == list(range(1, 17))


def test_a_push_that_was_killed_before_it_was_recorded_is_found_again(model, tmp_path):
    base = tmp_path / "serving"
    assert finished_push(model, str(base), "this") is None
    version = publish(model, str(base), {"summary.json": b'{"push": "this"}'})
    assert finished_push(model, str(base), "this") == version
    assert finished_push(model, str(base), "another") is None


@pytest.mark.parametrize("damage", ["changed", "missing", "no summary"])
def test_a_damaged_version_is_no_finished_push(damage, model, tmp_path):
    base = tmp_path / "serving"
    version = publish(model, str(base), {"summary.json": b'{"push": "this"}'})
    if damage == "changed":
        (version / "saved_model.pb").write_text("grapf")
    elif damage == "missing":
        (version / "variables" / "variables.index").unlink()
    else:
        (version / "summary.json").write_text("{")
    assert finished_push(model, str(base), "this") is None


def test_a_version_after_it_is_another_push(model, tmp_path):
    base = tmp_path / "serving"
    publish(model, str(base), {"summary.json": b'{"push": "this"}'})
    publish(model, str(base), {"summary.json": b'{"push": "later"}'})
    assert finished_push(model, str(base), "this") is None
