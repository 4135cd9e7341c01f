"""What `recommend --all-users` writes, and what it does not replace."""

import numpy as np
import pyarrow as pa
import pytest

from components.retrieval_index.exact import IDS, SCORES, TITLES
from pipeline.ask import recommend_all
from pipeline.ask.recommend_all import SCHEMA
from trainer_module.errors import ConfigError

USERS = pa.array(["ann", "bob"])


def test_items_that_do_not_exist_are_left_out():
    answer = {
        IDS: np.array([[b"7", b"9"], [b"9", b""]], object),
        TITLES: np.array([[b"Seven", b"\xc3\xa9"], [b"\xc3\xa9", b""]], object),
        SCORES: np.array([[0.5, 0.25], [0.75, -np.inf]], np.float32),
    }
    table = recommend_all._table(USERS, answer)
    assert table.schema == SCHEMA
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("ann", 1, "7", "Seven", 0.5),
        ("ann", 2, "9", "é", 0.25),
        ("bob", 1, "9", "é", 0.75),
    ]


def test_nothing_else_is_replaced(tmp_path):
    (tmp_path / "file.parquet").touch()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "part-00000-of-00002.parquet").touch()
    recommend_all._check_output(tmp_path / "file.parquet", 1)
    recommend_all._check_output(tmp_path / "shards", 2)
    with pytest.raises(ConfigError, match="shards is a directory; name a file, or ask for several files with --shards"):
        recommend_all._check_output(tmp_path / "shards", 1)
    with pytest.raises(ConfigError, match=r"file\.parquet is a file; several shards"):
        recommend_all._check_output(tmp_path / "file.parquet", 2)
    (tmp_path / "shards" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"shards holds 'thesis\.tex'"):
        recommend_all._check_output(tmp_path / "shards", 2)
