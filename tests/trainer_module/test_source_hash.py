from pathlib import Path

import pytest

from trainer_module import source_hash as sources
from trainer_module.source_hash import source_hash

PREPROCESSING, RUN_FN = "trainer_module.data.preprocessing", "trainer_module.run_fn"


@pytest.fixture
def edit(monkeypatch):
    """Makes a source file look edited."""
    read = sources._read

    def edit_file(name: str) -> None:
        def edited(file: str, modified: int, size: int) -> bytes:
            return read(file, modified, size) + (b"\n# edited" if Path(file).name == name else b"")

        monkeypatch.setattr(sources, "_read", edited)

    return edit_file


def test_an_edit_changes_the_hash_of_what_it_can_influence_and_of_nothing_else(edit):
    before = source_hash(PREPROCESSING), source_hash(RUN_FN)
    edit("loop.py")
    after = source_hash(PREPROCESSING), source_hash(RUN_FN)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_an_indirect_import_counts(edit):
    before = source_hash(PREPROCESSING), source_hash(RUN_FN)
    edit("features.py")
    assert source_hash(PREPROCESSING) != before[0]
    assert source_hash(RUN_FN) != before[1]


def test_a_module_that_its_package_finds_counts(edit):
    config = "components.example_gen.splits.config"
    before = source_hash(config)
    edit("leave_last_out.py")
    assert source_hash(config) != before


def test_a_module_that_is_not_there_is_an_error():
    with pytest.raises(ModuleNotFoundError):
        source_hash("trainer_module.nowhere")


def test_a_file_that_is_edited_is_read_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited.py").write_text("first = 1\n")
    before = source_hash("edited")
    (tmp_path / "edited.py").write_text("second = 2\n")
    assert source_hash("edited") != before


@pytest.mark.parametrize(
    "source",
    [
        "from trainer_module.data import features\n",
        "import trainer_module.data.features as other\n",
        "def later():\n    class Inner:\n        from trainer_module.data.features import Features as F, FeatureKind\n",
        # An argument of more than a byte.
        "".join(f"name_{number}\n" for number in range(300)) + "from trainer_module.data import features\n",
    ],
)
def test_an_import_is_found_wherever_and_however_it_is_written(tmp_path, monkeypatch, edit, source):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "imports.py").write_text(source)
    before = source_hash("imports")
    edit("features.py")
    assert source_hash("imports") != before


def test_a_name_that_only_looks_like_an_import_does_not_count(tmp_path, monkeypatch, edit):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mentions.py").write_text("'from trainer_module.data import features'\ntrainer_module = features = 1\n")
    before = source_hash("mentions")
    edit("features.py")
    assert source_hash("mentions") == before
