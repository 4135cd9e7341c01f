import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.flat_example_gen.config import FlatIngestConfig
from components.flat_example_gen.files import find_files, find_pieces, parse_text, read
from components.flat_example_gen.rows import convert, wanted_columns
from trainer_module.errors import DataError

CONFIG = {
    "dataset": "csv",
    "files": "clicks/*.csv",
    "label": "clicked",
    "categorical": ["user", {"name": "tags", "separator": "|"}],
    "numeric": ["price"],
    "slices": ["country"],
}
HEADER = "user,tags,price,country,clicked,unused\n"


def config(**changes) -> FlatIngestConfig:
    return FlatIngestConfig.model_validate(CONFIG | changes)


def converted(text: str, **changes):
    """Rows and bad rows of a text with the header above."""
    settings = config(**changes)
    dataset, source = settings.dataset_key.spec(), settings.source()
    names = HEADER.strip().split(",")
    raw, malformed = parse_text((HEADER + text).encode(), 1, "f.csv", names, source, wanted_columns(dataset, source))
    rows, unfit = convert(raw, dataset, source)
    return rows, malformed + unfit


def test_columns_get_the_types_of_the_feature_spec():
    rows, bad = converted("u1,a|b,1.5,de,1,x\n,,,fr,0,x\n")
    assert not bad
    assert rows.examples.to_pydict() == {
        "user": [[b"u1"], []],
        "tags": [[b"a", b"b"], []],
        "price": [[1.5], []],
        "clicked": [[1.0], [0.0]],
        "country": [[b"de"], [b"fr"]],
    }
    assert rows.numbers.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("u,a,cheap,de,1,x", "column 'price': expected a number, found 'cheap'"),
        ("u,a,1e99,de,1,x", "column 'price': expected a number, found '1e99'"),
        ("u,a,nan,de,1,x", "column 'price': expected a number, found 'nan'"),
        ("u,a,1,de,2,x", "column 'clicked': expected 0 or 1, found 2"),
        ("u,a,1,de,,x", "column 'clicked': expected a value, found none"),
        ("u,a,1,,1,x", "column 'country': expected a value, found none"),
        ("u,a,1,de,1", "expected 6 fields, found 5"),
        ("", "column 'clicked': expected a value, found none"),
    ],
)
def test_a_bad_row_says_what_was_expected_where(line, problem):
    rows, (bad,) = converted(f"u,a,1,de,1,x\n{line}\nu,a,1,de,0,x\n")
    assert (bad.file, bad.line, bad.problem, bad.raw) == ("f.csv", 3, problem, line)
    assert rows.numbers.tolist() == [2, 4]


def test_a_rating_must_lie_in_its_range():
    rows, bad = converted("u,a,1,de,5,x\nu,a,1,de,5.5,x\n", task="rating", label_range=[1, 5])
    assert rows.numbers.tolist() == [2]
    assert bad[0].problem == "column 'clicked': expected a number from 1 to 5, found 5.5"


def test_quoted_fields_may_hold_the_delimiter_but_no_line_end():
    rows, _ = converted('"u,1",a,1,de,1,x\n')
    assert rows.examples["user"].to_pylist() == [[b"u,1"]]
    with pytest.raises(DataError, match=r"f\.csv, from line 2: 2 lines hold 1 rows"):
        converted('"u\n1",a,1,de,1,x\n')


def test_a_split_column_of_another_value_is_bad():
    rows, (bad,) = converted(
        "u,a,1,de,1,train\nu,a,1,de,1,holdout\nu,a,1,de,1,dev\n",
        split={"by": "column", "column": "unused", "test": "holdout"},
    )
    assert rows.split_values.to_pylist() == [b"train", b"holdout"]
    assert bad.problem == "column 'unused': expected 'train' or 'eval' or 'holdout', found 'dev'"


@given(st.lists(st.one_of(st.none(), st.floats(-(2.0**100), 2.0**100, width=32)), min_size=1))
def test_numbers_come_back_as_they_were_written(numbers):
    text = "".join(f"u,a,{'' if number is None else repr(number)},de,1,x\n" for number in numbers)
    rows, bad = converted(text)
    assert not bad
    expected = [[] if number is None else [np.float32(number)] for number in numbers]
    assert rows.examples["price"].to_pylist() == expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters='\n\r",'), min_size=1), min_size=1))
def test_tokens_come_back_as_they_were_written(tokens):
    rows, bad = converted("".join(f"{token},a,1,de,1,x\n" for token in tokens))
    assert not bad
    assert rows.examples["user"].to_pylist() == [[token.encode()] for token in tokens]


def read_all(directory, settings):
    dataset, source = settings.dataset_key.spec(), settings.source()
    wanted = wanted_columns(dataset, source)
    pieces = find_pieces(find_files(str(directory), source), source)
    blocks = [convert(raw, dataset, source)[0] for piece in pieces for raw, _ in read(piece, source, wanted)]
    return pa.Table.from_batches([rows.examples for rows in blocks]), np.concatenate([rows.numbers for rows in blocks])


def test_blocks_compressed_or_not_and_parquet_give_the_same_examples(tmp_path, monkeypatch):
    monkeypatch.setattr("components.flat_example_gen.files._BLOCK_BYTES", 100)
    lines = [f"u{i % 7},a|b{i},{i / 4},de,{i % 2},x\n" for i in range(50)]
    text = (HEADER + "".join(lines)).encode()
    for name, content in (("plain/a.csv", text), ("zipped/a.csv.gz", gzip.compress(text))):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    columns = {
        "user": [f"u{i % 7}" for i in range(50)],
        "tags": [["a", f"b{i}"] for i in range(50)],
        "price": [i / 4 for i in range(50)],
        "country": ["de"] * 50,
        "clicked": [i % 2 == 1 for i in range(50)],
    }
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "parquet" / "a.parquet", row_group_size=20)
    plain, numbers = read_all(tmp_path / "plain", config(files="*.csv"))
    zipped, of_zipped = read_all(tmp_path / "zipped", config(files="*.gz"))
    parquet, rows = read_all(
        tmp_path / "parquet",
        config(dataset="parquet", files="*.parquet", categorical=["user", {"name": "tags", "multivalent": True}]),
    )
    assert plain.num_rows == 50
    assert plain.equals(zipped)
    assert plain.equals(parquet)
    assert numbers.tolist() == of_zipped.tolist() == list(range(2, 52))
    assert rows.tolist() == list(range(1, 51))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no file matches .*nothing\.csv"):
        find_files(str(tmp_path), config(files="nothing.csv").source())


def test_lists_where_one_value_is_expected_are_an_error(tmp_path):
    columns = {"user": [["a"]], "tags": ["a"], "price": [1.0], "country": ["de"], "clicked": [1]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    settings = config(dataset="parquet", files="*.parquet", categorical=["user", {"name": "tags", "multivalent": True}])
    with pytest.raises(DataError, match=r"a\.parquet: column 'user' holds lists"):
        read_all(tmp_path, settings)


def test_parquet_may_hold_other_types_than_those_of_the_feature_spec(tmp_path):
    columns = {
        "user": pa.array([7, None]),
        "tags": pa.array(["a", None]),
        "price": pa.array(["2.5", "1"]),
        "country": pa.array(["de", "fr"]).dictionary_encode(),
        "clicked": pa.array([True, False]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    settings = config(dataset="parquet", files="*.parquet", categorical=["user", {"name": "tags", "multivalent": True}])
    examples, _ = read_all(tmp_path, settings)
    assert examples.to_pydict() == {
        "user": [[b"7"], []],
        "tags": [[b"a"], []],
        "price": [[2.5], [1.0]],
        "clicked": [[1.0], [0.0]],
        "country": [[b"de"], [b"fr"]],
    }
