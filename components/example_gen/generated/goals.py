"""Views of items with two goals and a known best answer for both: whether an item is clicked, and for how long it is
read.

A user and an item have an affinity a, the dot product of two vectors, that both goals depend on:

    clicked with probability sigmoid(BIAS + user + item + device + CLICK_AFFINITY * a)
    seconds = MEAN_SECONDS + SECONDS_OF_ITEM * item's length + SECONDS_AFFINITY * a + noise

Reading times are known of clicked views alone. The noise is independent of all else, so no model can have an RMSE below
its standard deviation, nor a log loss below that of the true probabilities on the same rows. What a model learns of the
affinity from all views helps to predict the reading times, which few views have.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from components.evaluation.click_metrics import click_metrics, click_sums, exact_auc
from components.scratch import scratch_directory
from trainer_module.data.datasets.goals import CLICKED, FILE, SECONDS

NUM_USERS, NUM_ITEMS = 600, 300
DEVICES = ("phone", "tablet", "desktop")

BIAS = -1.8
CLICK_EFFECT = 0.4
CLICK_AFFINITY = 1.2
MEAN_SECONDS = 120.0
SECONDS_OF_ITEM = 10.0
SECONDS_AFFINITY = 15.0
NOISE_SECONDS = 10.0

_FACTORS = 2


@dataclass(frozen=True)
class Views:
    """Views of items.

    Attributes:
        tokens: Texts of `user`, `item` and `device`, `[rows]` each.
        clicked: 1 or 0, `[rows]`.
        seconds: Reading times, `[rows]`; NaN for views that are not clicked.
        probability: True probability of a click, `[rows]`.
        expected_seconds: Reading time without noise, `[rows]`.
    """

    tokens: dict[str, np.ndarray]
    clicked: np.ndarray
    seconds: np.ndarray
    probability: np.ndarray
    expected_seconds: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Views":
        """The chosen rows."""
        return Views(
            {name: of[chosen] for name, of in self.tokens.items()},
            *(of[chosen] for of in (self.clicked, self.seconds, self.probability, self.expected_seconds)),
        )

    def optimum(self) -> dict[str, float]:
        """Metrics of the true probabilities and of the reading times without noise, on these rows.

        Returns:
            `clicked.log_loss`, `clicked.auc` and `seconds.rmse`, as the metrics of a model's heads are called.
        """
        clicks = click_metrics(click_sums(self.clicked, self.probability))
        errors = (self.expected_seconds - self.seconds)[~np.isnan(self.seconds)]
        return {
            f"{CLICKED}.log_loss": clicks["log_loss"],
            f"{CLICKED}.auc": exact_auc(self.clicked, self.probability),
            f"{SECONDS}.rmse": float(np.sqrt(np.mean(errors**2))),
        }


def draw(rows: int, seed: int) -> Views:
    """Draws views; the same arguments give the same ones."""
    random = np.random.default_rng(seed)
    user, item = random.integers(NUM_USERS, size=rows), random.integers(NUM_ITEMS, size=rows)
    device = random.integers(len(DEVICES), size=rows)
    tastes, traits = random.normal(size=(NUM_USERS, _FACTORS)), random.normal(size=(NUM_ITEMS, _FACTORS))
    affinity = (tastes[user] * traits[item]).sum(axis=1) / np.sqrt(_FACTORS)
    log_odds = BIAS + CLICK_AFFINITY * affinity
    for index, count in ((user, NUM_USERS), (item, NUM_ITEMS), (device, len(DEVICES))):
        log_odds += CLICK_EFFECT * random.normal(size=count)[index]
    probability = 1 / (1 + np.exp(-log_odds))
    clicked = (random.random(rows) < probability).astype(np.int64)
    expected = MEAN_SECONDS + SECONDS_OF_ITEM * random.normal(size=NUM_ITEMS)[item] + SECONDS_AFFINITY * affinity
    seconds = np.where(clicked == 1, expected + NOISE_SECONDS * random.normal(size=rows), np.nan)
    tokens = {"user": _texts("u", user), "item": _texts("i", item), "device": np.array(DEVICES)[device]}
    return Views(tokens, clicked, seconds, probability, expected)


def write_synthetic_goals(data_dir: Path, rows: int, seed: int = 0) -> None:
    """Writes the views as one CSV file.

    Args:
        data_dir: Gets the file; must not exist.
        rows: Number of views.
        seed: Of all random numbers.
    """
    views = draw(rows, seed)
    table = pa.table(
        {
            **views.tokens,
            CLICKED: views.clicked,
            SECONDS: pa.array(np.round(views.seconds, 3), mask=np.isnan(views.seconds)),
        }
    )
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(data_dir.parent, ".synthetic-goals-") as scratch:
        staged = scratch / "staged"
        staged.mkdir()
        pyarrow.csv.write_csv(table, staged / FILE)
        staged.rename(data_dir)


def _texts(prefix: str, numbers: np.ndarray) -> np.ndarray:
    return np.char.add(prefix, numbers.astype(np.str_))
