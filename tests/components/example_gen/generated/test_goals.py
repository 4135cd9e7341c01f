"""What is planted for two goals."""

import numpy as np
import pytest

from components.example_gen.config import DataConfig
from components.example_gen.generated.goals import NOISE_SECONDS, draw, write_synthetic_goals
from components.example_gen.loading import load


def test_labels_follow_what_is_planted():
    views = draw(100_000, 0)
    deciles = np.argsort(np.argsort(views.probability)) * 10 // len(views.probability)
    for decile in range(10):
        expected, rows = views.probability[deciles == decile].mean(), np.sum(deciles == decile)
        assert views.clicked[deciles == decile].mean() == pytest.approx(expected, abs=4 * (expected / rows) ** 0.5)
    np.testing.assert_array_equal(np.isnan(views.seconds), views.clicked == 0)
    best = views.optimum()
    assert best["seconds.rmse"] == pytest.approx(NOISE_SECONDS, rel=0.02)
    # Both goals depend on more than their means.
    assert np.nanstd(views.seconds) > 1.5 * NOISE_SECONDS
    mean = views.clicked.mean()
    assert best["clicked.log_loss"] < 0.9 * -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    assert best["clicked.auc"] > 0.75


def test_the_same_seed_gives_the_same_file_which_is_read_with_both_labels(tmp_path):
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        write_synthetic_goals(tmp_path / name, 2000, seed)
    one, again, other = ((tmp_path / name / "views.csv").read_bytes() for name in ("one", "again", "other"))
    assert one == again != other
    rows = load(str(tmp_path / "one"), DataConfig(dataset="synthetic-goals"), {}, with_interactions=True).rows
    assert rows is not None and rows.batch.num_rows == 2000
    views = draw(2000, 0)
    seconds = rows.batch.column("seconds").to_numpy(zero_copy_only=False)
    np.testing.assert_allclose(np.sort(seconds), np.sort(views.seconds), atol=1e-3)
    chosen = views.rows(views.clicked == 1)
    assert chosen.tokens["user"].shape == chosen.seconds.shape == (views.clicked.sum(),)
