import gzip

import numpy as np
import pyarrow as pa
import pytest

from components.evaluation.click_metrics import exact_auc
from components.example_gen.config import DataConfig
from components.example_gen.generated.clicks import draw, plant, read_planted, write_synthetic_criteo
from components.example_gen.loading import load
from components.example_gen.rows import TEST
from trainer_module.data.datasets.criteo import CATEGORIES, NUMBERS
from trainer_module.errors import DataError

ROWS = 5000


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    directory = tmp_path_factory.mktemp("synthetic") / "data"
    write_synthetic_criteo(directory, ROWS)
    return directory


def ingested(directory, config):
    loaded = load(str(directory), config, {}, with_interactions=True)
    assert loaded.rows is not None
    return loaded


def test_the_same_seed_gives_the_same_bytes(generated, tmp_path):
    write_synthetic_criteo(tmp_path / "again", ROWS)
    write_synthetic_criteo(tmp_path / "other", ROWS, seed=1)
    first = (generated / "day_0").read_bytes()
    assert (tmp_path / "again" / "day_0").read_bytes() == first
    assert (tmp_path / "other" / "day_0").read_bytes() != first


def test_it_is_read_as_criteo_is_plain_or_compressed(generated, tmp_path):
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress((generated / "day_0").read_bytes()))
    plain = ingested(generated, DataConfig(dataset="synthetic-criteo")).rows.batch
    zipped = ingested(tmp_path, DataConfig(dataset="criteo")).rows.batch
    assert plain.num_rows == ROWS
    assert pa.Table.from_batches([plain]).equals(pa.Table.from_batches([zipped]))


def test_fields_are_missing_and_tokens_are_hexadecimal(generated):
    lines = [line.split("\t") for line in (generated / "day_0").read_text().splitlines()]
    assert {len(fields) for fields in lines} == {1 + len(NUMBERS) + len(CATEGORIES)}
    assert any(not field for fields in lines for field in fields[1:14])
    assert any(not field for fields in lines for field in fields[14:])
    assert all(len(bytes.fromhex(field)) == 4 for fields in lines for field in fields[14:] if field)


def test_labels_are_drawn_with_their_probabilities():
    table, probabilities = draw(plant(0), 200_000, np.random.default_rng(1))
    labels, deciles = table["label"].to_numpy(), np.argsort(np.argsort(probabilities)) * 10 // len(probabilities)
    for decile in range(10):
        expected, rows = probabilities[deciles == decile].mean(), np.sum(deciles == decile)
        assert labels[deciles == decile].mean() == pytest.approx(expected, abs=4 * (expected / rows) ** 0.5)


def test_log_odds_by_hand():
    truth = plant(0)
    ranks = np.zeros((len(CATEGORIES), 1), np.int64)
    nothing = truth.log_odds(ranks, np.zeros((len(NUMBERS), 1)))
    numbers = np.zeros((len(NUMBERS), 1))
    numbers[3] = 2.0
    assert truth.log_odds(ranks, numbers) - nothing == pytest.approx(2 * truth.numbers[3])
    ranks[25] = 7  # in no pair
    assert truth.log_odds(ranks, numbers * 0) - nothing == pytest.approx(truth.tokens[25][7] - truth.tokens[25][0])


def test_the_best_reachable_metrics_are_those_of_the_truth_on_the_test_rows(generated):
    planted, loaded = read_planted(generated), ingested(generated, DataConfig(dataset="synthetic-criteo"))
    in_test = DataConfig(dataset="synthetic-criteo").split_protocol().assign(loaded.rows, None, loaded.entities) == TEST
    table, probabilities = draw(plant(0), ROWS, np.random.default_rng([0, 1, 0, 0]))
    assert planted.test.rows == in_test.sum()
    assert planted.test.auc == exact_auc(table["label"].to_numpy()[in_test], probabilities[in_test])


def test_other_data_is_not_overwritten(generated):
    assert write_synthetic_criteo(generated, ROWS) == read_planted(generated)
    with pytest.raises(DataError, match=r"holds 5,000 rows of seed 0, not 6,000"):
        write_synthetic_criteo(generated, 6000)
    with pytest.raises(DataError, match=r"holds no planted\.json"):
        write_synthetic_criteo(generated.parent, ROWS)
