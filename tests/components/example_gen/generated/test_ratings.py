"""The synthetic dataset: its promises, and the layout it shares with MovieLens."""

from pathlib import Path

import numpy as np
import pytest

from components.example_gen import layout
from components.example_gen.config import DataConfig
from components.example_gen.generated.ratings import MIN_RATINGS_PER_USER, NOISE_SCALE, GroundTruth, write_synthetic
from components.example_gen.layout import FILES, read_manifest
from components.example_gen.loading import load
from components.example_gen.rows import ITEM, LABEL, TIME, USER
from trainer_module.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, GroundTruth]:
    data_dir = tmp_path_factory.mktemp("synthetic") / "data"
    return data_dir, write_synthetic(data_dir, num_ratings=60_000, num_users=600, num_items=500, seed=3)


@pytest.fixture(scope="module")
def columns(written) -> dict[str, np.ndarray]:
    data_dir, _ = written
    loaded = load(str(data_dir), DataConfig(dataset="synthetic"), {}, with_interactions=True)
    users, items, rows = loaded.entities.users, loaded.entities.items, loaded.rows
    assert users is not None and items is not None and rows is not None
    assert (users.num_rows, items.num_rows, rows.batch.num_rows) == (600, 500, 60_000)
    # Identifiers count from 1 in file order, so rows of the entities are the planted indices.
    names = {"user": USER, "item": ITEM, "timestamp": TIME, "rating": LABEL}
    return {name: rows.column(column) for name, column in names.items()}


def test_the_planted_model_reaches_the_noise_floor(written, columns):
    _, truth = written
    error = columns["rating"] - truth.expected_ratings(columns["user"], columns["item"])
    assert np.abs(error).max() <= NOISE_SCALE + 1e-4
    assert np.sqrt(np.mean(error**2)) == pytest.approx(truth.noise_floor, rel=0.01)
    assert truth.noise_floor == pytest.approx(NOISE_SCALE / 3**0.5)
    assert np.std(columns["rating"]) > 1.5 * truth.noise_floor, "there is little signal to learn"


def test_no_rating_is_clipped(columns):
    assert columns["rating"].min() > 1.0
    assert columns["rating"].max() < 5.0


def test_pairs_are_distinct_users_are_active_and_items_are_skewed(columns):
    assert len(np.unique(columns["user"] * 500 + columns["item"])) == 60_000
    assert np.bincount(columns["user"], minlength=600).min() >= MIN_RATINGS_PER_USER
    popularity = np.sort(np.bincount(columns["item"], minlength=500))[::-1]
    assert popularity[:50].sum() > 3 * popularity[250:300].sum()


def test_users_come_one_after_the_other_and_rows_are_shuffled(columns):
    late = columns["timestamp"] > np.quantile(columns["timestamp"], 0.8)
    assert np.setdiff1d(columns["user"][late], columns["user"][~late]).size > 30
    assert abs(np.corrcoef(np.arange(60_000), columns["timestamp"])[0, 1]) < 0.02


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, 1000, 50, 60, seed)
    same = [(tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in FILES]
    assert all(same)
    assert (tmp_path / "a/u.data").read_bytes() != (tmp_path / "c/u.data").read_bytes()


def test_a_second_call_leaves_the_files_alone_and_other_sizes_replace_them(tmp_path):
    data_dir = tmp_path / "data"
    write_synthetic(data_dir, 1000, 50, 60, 0)
    before = (data_dir / "u.data").stat().st_mtime_ns
    write_synthetic(data_dir, 1000, 50, 60, 0)
    assert (data_dir / "u.data").stat().st_mtime_ns == before
    write_synthetic(data_dir, 2000, 50, 60, 0)
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert manifest.details["num_ratings"] == 2000
    layout.verify(data_dir, manifest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_changed_file_is_found(tmp_path):
    write_synthetic(tmp_path / "data", 1000, 50, 60, 0)
    with (tmp_path / "data/u.user").open("a") as file:
        file.write("51|20|M|other|1\n")
    with pytest.raises(DataError, match=r"u\.user changed since .* Remove"):
        write_synthetic(tmp_path / "data", 1000, 50, 60, 0)


def test_foreign_files_are_not_overwritten(tmp_path):
    (tmp_path / "u.data").write_text("1\t1\t3\t0\n")
    with pytest.raises(DataError, match=r"holds u\.data but no manifest\.json"):
        write_synthetic(tmp_path, 1000, 50, 60, 0)
    assert (tmp_path / "u.data").read_text() == "1\t1\t3\t0\n"


@pytest.mark.parametrize("numbers", [(100, 50, 60), (3001, 50, 60), (100, 0, 60), (10, 2, 4)])
def test_numbers_that_do_not_fit_are_refused(tmp_path, numbers):
    with pytest.raises(ConfigError):
        write_synthetic(tmp_path / "data", *numbers, seed=0)


def test_every_pair_can_be_rated(tmp_path):
    write_synthetic(tmp_path / "data", 50 * 60, 50, 60, 0)
