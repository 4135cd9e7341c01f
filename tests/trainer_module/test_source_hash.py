from pathlib import Path

import pytest

from trainer_module.source_hash import source_hash

PREPROCESSING, RUN_FN = "trainer_module.data.preprocessing", "trainer_module.run_fn"


@pytest.fixture
def edit(monkeypatch):
    """Makes a source file look edited."""
    read = Path.read_bytes

    def edit_file(name: str) -> None:
        monkeypatch.setattr(
            Path, "read_bytes", lambda path: read(path) + b"\n# edited" if path.name == name else read(path)
        )

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
