"""The benchmarks' commands and workloads still fit the product; what they measure is no matter of tests."""

import hashlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from benchmarks import public_data
from benchmarks.click_model import build, feature_spec, training_config
from benchmarks.published import ROWS
from benchmarks.retrieval_baselines import Ratings, last_item
from benchmarks.two_stage import recall
from benchmarks.workload import Workload, criteo_rows
from pipeline.config import load_config

BENCHMARKS = sorted(
    path.stem for path in (Path(__file__).parent.parent / "benchmarks").glob("*.py") if "typer.run(" in path.read_text()
)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_can_be_imported(name):
    assert import_module(f"benchmarks.{name}").main.__doc__


def test_the_workload_of_training_is_one_of_the_product_s(tmp_path):
    workload = Workload(str(tmp_path), criteo_rows(1e-4))
    assert len(feature_spec(workload).tables) == len(workload.rows)
    _, model, optimizer = build(workload, training_config(workload, 32))
    assert set(optimizer.of_table) == set(model.embedding.trainable_tables)


def test_the_last_item_is_found_among_those_that_a_user_does_not_know():
    # User 0 has known 0 and 1, user 1 has known 2 and 0, whatever the order of the rows.
    ratings = Ratings(np.array([0, 0, 1, 1, 0, 1]), np.array([2, 0, 0, 2, 1, 1]), np.array([9, 1, 5, 3, 2, 7]))
    seen = []

    def fit(known):
        seen.append(known.toarray().tolist())
        # Item 0 first, then 1, then 2: users' own items are left out.
        return lambda queries: np.repeat([[3.0, 2.0, 1.0]], queries.shape[0], axis=0)

    assert last_item(ratings, [fit]) == (1.0, 1.0)
    assert seen == [[[1, 0, 0], [0, 0, 1]]] * 2


def test_recall_is_the_mean_share_of_exact_candidates_that_are_found():
    # Two of four, and one of two; what is no exact candidate does not count.
    exact, found = [{b"a", b"b", b"c", b"d"}, {b"a", b"b"}], [{b"a", b"b", b"x"}, {b"b", b"y"}]
    assert recall(exact, found) == 0.5
    assert recall(exact, [exact[0], set()]) == 0.5
    assert recall(exact, exact) == 1


@pytest.fixture
def lists(monkeypatch) -> dict[str, str]:
    """Texts of a few lines that the datasets are made of, by name of the file."""
    texts = {"train.txt": "1 7 5\n0 3 \n2\n", "test.txt": "0 5\n", "Beauty.txt": "1 9 4 6\n"}
    datasets = {}
    for name, dataset in public_data.DATASETS.items():
        files = {}
        for split, file in dataset.files.items():
            text = public_data.canonical(public_data.parse(texts[file.name]), file.is_ordered)
            files[split] = replace(file, sha256=hashlib.sha256(text.encode()).hexdigest())
        datasets[name] = replace(dataset, files=files)
    monkeypatch.setattr(public_data, "DATASETS", datasets)
    return texts


def test_public_data_becomes_tables(lists, tmp_path):
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    for _ in range(2):
        public_data.main(tmp_path / "data", tmp_path)
    check_ins = pyarrow.csv.read_csv(tmp_path / "data" / "gowalla" / "interactions.csv.gz").to_pylist()
    assert [tuple(row.values()) for row in check_ins] == [
        (1, 7, "train"),
        (1, 5, "train"),
        (0, 3, "train"),
        (0, 5, "test"),
    ]
    beauty = pyarrow.csv.read_csv(tmp_path / "data" / "amazon-beauty" / "interactions.csv.gz").to_pylist()
    assert [tuple(row.values()) for row in beauty] == [(1, 9, 0), (1, 4, 1), (1, 6, 2)]


def test_other_lists_are_refused(lists, tmp_path):
    for name, text in lists.items():
        (tmp_path / name).write_text(text.replace("9 4", "4 9"))
    with pytest.raises(SystemExit, match=r"Beauty\.txt does not hold the lists"):
        public_data.main(tmp_path / "data", tmp_path)
    assert not (tmp_path / "data" / "amazon-beauty").exists()
    with pytest.raises(ValueError, match="user 1 has two lines"):
        public_data.parse("1 2\n1 3\n")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.preset.endswith(".yaml")])
def test_experiment_files_of_the_comparison_are_read(name):
    load_config(Path(ROWS[name].preset), {})
