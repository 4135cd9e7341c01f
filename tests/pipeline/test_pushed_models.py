"""The list of pushed versions, and the way back to an earlier one."""

import json

import pytest

from components.pusher.publish import finished_push, latest_version
from components.retrieval_index.layout import VERTEX_FILE
from pipeline.ask.versions import read_summary
from pipeline.pushed_models import pushed_versions, roll_back
from tests.launcher import recspan
from trainer_module.errors import ConfigError, ModelError


def pushed(root, name: str, version: int, error: float) -> None:
    directory = root / "serving" / name / str(version)
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_text(f"{name} {version}")
    (directory / "variables" / "data").write_text("values")
    baselines = [{"metric": "rmse", "value": error, "reference": "biases", "reference_value": 1.0}]
    summary = {
        "push": f"push {version}",
        "data_dir": "data",
        "config": {"model": {"type": "dlrm"}},
        "evaluation": {"baselines": baselines},
    }
    (directory / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def root(tmp_path):
    pushed(tmp_path, "shop", 9, 0.5)
    pushed(tmp_path, "shop", 10, 0.75)
    pushed(tmp_path, "films", 1, 0.25)
    (tmp_path / "serving" / "shop" / ".incoming-1").mkdir()
    return tmp_path


def test_versions_are_listed_in_the_order_of_their_numbers(root):
    listed = [(each.name, each.version, each.metrics["rmse"], each.is_served) for each in pushed_versions(root)]
    assert listed == [("films", 1, 0.25, True), ("shop", 9, 0.5, False), ("shop", 10, 0.75, True)]
    assert not list(pushed_versions(root / "elsewhere"))


def test_an_earlier_version_is_published_again_and_nothing_is_removed(root):
    published = roll_back(root, "shop", 9)
    assert published == latest_version(root / "serving" / "shop") == root / "serving" / "shop" / "11"
    assert (published / "saved_model.pb").read_text() == "shop 9"
    assert (published / "variables" / "data").read_text() == "values"
    assert [(each.version, each.copy_of) for each in pushed_versions(root) if each.name == "shop"] == [
        (9, None),
        (10, None),
        (11, 9),
    ]
    assert read_summary(published)["evaluation"] == read_summary(root / "serving" / "shop" / "9")["evaluation"]


def test_a_copy_is_not_taken_for_the_push_that_made_the_original(root):
    base = root / "serving" / "shop"
    assert finished_push(str(base / "10"), str(base), "push 10") == base / "10"
    roll_back(root, "shop", 9)
    assert finished_push(str(base / "9"), str(base), "push 9") is None


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("shpo", 9, "holds no pushed model 'shpo'. Did you mean shop? Known: films, shop"),
        ("shop", 8, "shop has no version 8; there are 9, 10"),
        ("shop", 10, "version 10 of shop is the newest already"),
    ],
)
def test_what_cannot_be_rolled_back_is_refused(root, name, version, message):
    before = sorted(root.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        roll_back(root, name, version)
    assert message in str(caught.value)
    assert sorted(root.rglob("*")) == before


def test_a_version_without_a_readable_summary_is_named(root):
    (root / "serving" / "shop" / "9" / "summary.json").write_text("{")
    for act in (lambda: list(pushed_versions(root)), lambda: roll_back(root, "shop", 9)):
        with pytest.raises(ModelError, match=r"serving/shop/9 is no pushed version"):
            act()
    assert latest_version(root / "serving" / "shop") == root / "serving" / "shop" / "10"


def test_commands(root):
    listed = recspan("models", "list", "--root", str(root), "--json")
    assert [each["version"] for each in json.loads(listed.stdout)] == [1, 9, 10]
    done = recspan("models", "rollback", "shop", "9", "--root", str(root))
    assert done.returncode == 0 and done.stdout.startswith("version 9 is served again as")
    listed = recspan("models", "list", "--root", str(root))
    assert "copy of 9" in listed.stdout and "rmse 0.5000" in listed.stdout
    refused = recspan("models", "rollback", "shop", "9000", "--root", str(root))
    assert refused.returncode == 1 and "shop has no version 9000" in refused.stderr


def items(root, version: int, lines: str) -> None:
    file = root / "serving" / "shop" / str(version) / VERTEX_FILE
    file.parent.mkdir(parents=True)
    file.write_text(lines)


def test_what_has_changed_since_a_version_is_exported(root, tmp_path, command_line):
    items(root, 9, '{"id": "a", "embedding": [1, 2]}\n{"id": "b", "embedding": [3, 4]}\n')
    items(root, 10, '{"id": "a", "embedding": [1, 2.5]}\n{"id": "c", "embedding": [5, 6]}\n')
    command = ("models", "export-items", "shop", "--root", str(root))
    changed = command_line(*command, "--since", "9", "-o", "delta", cwd=tmp_path)
    assert changed.returncode == 0, changed.stderr
    assert changed.stdout == "1 new, 1 changed and 1 removed items in delta; 0 are as in version 9\n"
    assert (tmp_path / "delta/delete/removed.txt").read_text() == "b\n"
    tolerant = command_line(*command, "--since", "9", "--tolerance", "0.5", "-o", "more", "--json", cwd=tmp_path)
    assert json.loads(tolerant.stdout)["changed"] == 0
    everything = command_line(*command, "--version", "9", "-o", "all", cwd=tmp_path)
    assert everything.stdout == "2 items in all\n"
    for options, message in (
        (("--since", "10"), "--since 10 is the version that is exported"),
        (("--since", "8"), "shop has no version 8; there are 9, 10"),
        (("--tolerance", "1"), "--tolerance goes with --since"),
        (("-o", "gs://bucket/delta"), "expected a local directory"),
    ):
        refused = command_line(*command, "-o", "refused", *options, cwd=tmp_path)
        assert refused.returncode == 1
        assert message in refused.stderr
    films = command_line("models", "export-items", "films", "--root", str(root), "-o", "refused", cwd=tmp_path)
    assert "name a pushed retrieval model" in films.stderr
    assert not (tmp_path / "refused").exists()
