"""Batches of updates for Vertex AI Vector Search."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.retrieval_index.vertex import json_lines
from components.retrieval_index.vertex_delta import DELETED_FILE, ITEMS_FILE, Delta, ItemFile, write_delta
from trainer_module.errors import ConfigError, ModelError


def items(path, vectors: dict[str, list[float]], restricts: dict[str, list[str]] | None = None, is_int8=False):
    array = np.array(list(vectors.values()), np.float32).reshape(len(vectors), len(next(iter(vectors.values()), [])))
    filters = [{"genre": (restricts or {}).get(item, [])} for item in vectors]
    path.write_text("".join(json_lines(list(vectors), array, filters)), encoding="utf-8")
    return ItemFile(path, is_int8)


def written(output) -> tuple[list[str], list[str]]:
    """Identifiers that are upserted and removed; there is no other file."""
    files = {str(file.relative_to(output)) for file in output.rglob("*") if file.is_file()}
    assert files <= {ITEMS_FILE, DELETED_FILE}
    upserted, deleted = output / ITEMS_FILE, output / DELETED_FILE
    return (
        [json.loads(line)["id"] for line in upserted.read_text(encoding="utf-8").split("\n")[:-1]]
        if upserted.exists()
        else [],
        deleted.read_text(encoding="utf-8").split("\n")[:-1] if deleted.exists() else [],
    )


def test_new_changed_and_removed_items_are_written(tmp_path):
    earlier = items(tmp_path / "1.json", {"a": [1, 2], "b": [3, 4], "c": [5, 6], "d": [7, 8]}, {"d": ["x"]})
    newer = items(tmp_path / "2.json", {"new": [0, 1], "c": [5, 6.5], "a": [1, 2], "d": [7, 8]}, {"d": ["y"]})
    delta = write_delta(newer, earlier, tmp_path / "out")
    assert delta == Delta(new=1, changed=2, unchanged=1, removed=1)
    assert written(tmp_path / "out") == (["new", "c", "d"], ["b"])
    lines = newer.path.read_text(encoding="utf-8").split("\n")[:-1]
    assert (tmp_path / "out" / ITEMS_FILE).read_text(encoding="utf-8").split("\n")[:-1] == [
        lines[0],
        lines[1],
        lines[3],
    ]


def test_all_items_are_written_without_an_earlier_version(tmp_path):
    newer = items(tmp_path / "1.json", {"a": [1, 2], "ä": [3, 4]})
    assert write_delta(newer, None, tmp_path / "out") == Delta(new=2, changed=0, unchanged=0, removed=0)
    assert (tmp_path / "out" / ITEMS_FILE).read_bytes() == newer.path.read_bytes()
    assert written(tmp_path / "out") == (["a", "ä"], [])


def test_nothing_is_written_where_nothing_has_changed(tmp_path):
    earlier, newer = (items(tmp_path / f"{n}.json", {"a": [1, 2]}) for n in (1, 2))
    assert write_delta(newer, earlier, tmp_path / "out").is_empty
    assert sorted(os.listdir(tmp_path)) == ["1.json", "2.json"]


def test_removals_alone_make_no_empty_file_of_items(tmp_path):
    earlier = items(tmp_path / "1.json", {"a": [1, 2], "b": [3, 4]})
    newer = items(tmp_path / "2.json", {"a": [1, 2]})
    write_delta(newer, earlier, tmp_path / "out")
    assert written(tmp_path / "out") == ([], ["b"])
    assert not (tmp_path / "out" / ITEMS_FILE).exists()


def test_small_changes_are_within_the_tolerance(tmp_path):
    earlier = items(tmp_path / "1.json", {"turned": [1, 0], "scaled": [1, 1], "zero": [0, 0]})
    newer = items(tmp_path / "2.json", {"turned": [1, 0.01], "scaled": [3, 3], "zero": [0, 1]})
    write_delta(newer, earlier, tmp_path / "by-number", 0.01, "max-abs")
    assert written(tmp_path / "by-number") == (["scaled", "zero"], [])
    write_delta(newer, earlier, tmp_path / "by-cosine", 0.001, "cosine")
    assert written(tmp_path / "by-cosine") == (["zero"], [])
    assert write_delta(newer, earlier, tmp_path / "exact").changed == 3


def test_int8_versions_are_compared_as_they_are_served(tmp_path):
    """127 steps of 1/127 reach 1; a change of less than half a step is none."""
    before, after = {"a": [1.0, 0.5], "b": [1.0, 0.5]}, {"a": [1.0, 0.501], "b": [1.0, 0.51]}
    earlier, newer = (items(tmp_path / f"{n}.json", v, is_int8=True) for n, v in enumerate((before, after)))
    write_delta(newer, earlier, tmp_path / "int8")
    assert written(tmp_path / "int8") == (["b"], [])
    # What is written is the float32 vector, as in the import file.
    assert json.loads((tmp_path / "int8" / ITEMS_FILE).read_text())["embedding"] == [1, 0.509999990]
    write_delta(ItemFile(newer.path), ItemFile(earlier.path), tmp_path / "float32")
    assert written(tmp_path / "float32") == (["a", "b"], [])
    # The same file served as int8 and as float32 is not the same.
    assert write_delta(earlier, ItemFile(earlier.path), tmp_path / "rounded").changed == 2


def test_nothing_is_half_written(tmp_path):
    earlier = items(tmp_path / "1.json", {"a": [1, 2], "b": [3, 4]})
    newer = items(tmp_path / "2.json", {"a": [1, 3]})
    newer.path.write_text(newer.path.read_text() + '{"id": "b"}\n')
    with pytest.raises(ModelError, match=r"2\.json, line 2: not an item of Vertex AI Vector Search \('embedding'\)"):
        write_delta(newer, earlier, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["1.json", "2.json"]
    longer = items(tmp_path / "2.json", {"a": [1, 2, 3]})
    with pytest.raises(ModelError, match="vectors of 3 numbers"):
        write_delta(longer, earlier, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        write_delta(earlier, None, tmp_path / "out")
    assert not os.listdir(tmp_path / "out")


Vectors = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=3),
    st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2),
    max_size=6,
)


@given(before=Vectors, after=Vectors)
def test_an_index_that_takes_the_batch_holds_the_newer_items(tmp_path_factory, before, after):
    directory = tmp_path_factory.mktemp("versions")
    earlier, newer = items(directory / "1.json", before), items(directory / "2.json", after)
    index = {json.loads(line)["id"]: line for line in earlier.path.read_text(encoding="utf-8").split("\n")[:-1]}
    if not write_delta(newer, earlier, directory / "out").is_empty:
        upserted, removed = written(directory / "out")
        assert not set(upserted) & set(removed)
        for item in removed:
            del index[item]
        if upserted:
            lines = (directory / "out" / ITEMS_FILE).read_text(encoding="utf-8").split("\n")[:-1]
            index |= dict(zip(upserted, lines, strict=True))
    assert {item: json.loads(line) for item, line in index.items()} == {
        item["id"]: item for item in map(json.loads, newer.path.read_text(encoding="utf-8").split("\n")[:-1])
    }
