"""Clicks that arrive day by day: new users and items every day, and one day whose collector was broken.

A user and an item have an affinity a, the dot product of two vectors:

    clicked with probability sigmoid(BIAS + user + item + country + CLICK_AFFINITY * a - PRICE_EFFECT * log price)

What is planted stays the same on all days; each day adds users and items, and new items are seen most. On the day of
the drift, half of the rows come from a collector that writes countries in lower case and prices in cents.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from components.scratch import scratch_directory
from trainer_module.data.datasets.days import CLICKED
from trainer_module.errors import ConfigError

FIRST_DAY = date(2024, 5, 1)
NUM_USERS, USERS_PER_DAY = 500, 40
NUM_ITEMS, ITEMS_PER_DAY = 200, 20
COUNTRIES, DEVICES = ("US", "DE", "FR", "JP", "BR"), ("phone", "tablet", "desktop")
COUNTRY_SHARES = (0.4, 0.25, 0.15, 0.1, 0.1)

BIAS = -1.5
EFFECT = 0.4
CLICK_AFFINITY = 1.0
PRICE_EFFECT = 0.5
# Share of the rows that the broken collector writes on the day of the drift.
BROKEN_SHARE = 0.5

_FACTORS = 2
# The share of an item falls with its age as this power of uniform numbers says.
_SKEW = 1.7


@dataclass(frozen=True)
class Shop:
    """What is planted.

    Attributes:
        tastes: Of users, `[users, factors]`.
        traits: Of items, `[items, factors]`.
        user_effect: `[users]`.
        item_effect: `[items]`.
        country_effect: `[countries]`.
        log_price: Of items, in euros, `[items]`.
        country: Of users, an index into `COUNTRIES`, `[users]`.
    """

    tastes: np.ndarray
    traits: np.ndarray
    user_effect: np.ndarray
    item_effect: np.ndarray
    country_effect: np.ndarray
    log_price: np.ndarray
    country: np.ndarray

    @classmethod
    def plant(cls, days: int, seed: int) -> "Shop":
        """Draws everything for so many days; more days only add to it."""
        users, items = (np.random.default_rng([seed, role]) for role in (0, 1))
        num_users, num_items = NUM_USERS + days * USERS_PER_DAY, NUM_ITEMS + days * ITEMS_PER_DAY
        # One row of draws per user and item, so that those of the first days do not depend on the number of days.
        of_users, of_items = users.normal(size=(num_users, _FACTORS + 2)), items.normal(size=(num_items, _FACTORS + 2))
        shares = np.cumsum(COUNTRY_SHARES)
        ranks = np.random.default_rng([seed, 2]).random(num_users)
        return cls(
            tastes=of_users[:, :_FACTORS],
            traits=of_items[:, :_FACTORS],
            user_effect=EFFECT * of_users[:, _FACTORS],
            item_effect=EFFECT * of_items[:, _FACTORS],
            country_effect=EFFECT * np.random.default_rng([seed, 3]).normal(size=len(COUNTRIES)),
            log_price=of_items[:, _FACTORS + 1] * 0.6 + 3,
            country=np.minimum(np.searchsorted(shares, ranks), len(COUNTRIES) - 1),
        )


def draw_day(shop: Shop, day: int, rows: int, seed: int, is_broken: bool) -> pa.Table:
    """Draws the rows of a day; the same arguments give the same ones.

    Args:
        shop: What is planted, for so many days at least.
        day: From 1.
        rows: Number of rows.
        seed: Of all random numbers.
        is_broken: Whether half of the rows come from the broken collector.
    """
    random = np.random.default_rng([seed, 4, day])
    user = random.integers(NUM_USERS + day * USERS_PER_DAY, size=rows)
    newest = NUM_ITEMS + day * ITEMS_PER_DAY - 1
    item = newest - (random.random(rows) ** _SKEW * (newest + 1)).astype(np.int64)
    device = random.integers(len(DEVICES), size=rows)
    affinity = (shop.tastes[user] * shop.traits[item]).sum(axis=1) / np.sqrt(_FACTORS)
    log_odds = BIAS + CLICK_AFFINITY * affinity + shop.user_effect[user] + shop.item_effect[item]
    log_odds += shop.country_effect[shop.country[user]] - PRICE_EFFECT * (shop.log_price[item] - 3)
    clicked = (random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
    country, price = np.array(COUNTRIES)[shop.country[user]], np.exp(shop.log_price[item])
    broken = (random.random(rows) < BROKEN_SHARE) & is_broken
    return pa.table(
        {
            "user": np.char.add("u", user.astype(np.str_)),
            "item": np.char.add("i", item.astype(np.str_)),
            "country": np.where(broken, np.char.lower(country), country),
            "device": np.array(DEVICES)[device],
            "price": np.round(np.where(broken, 100 * price, price), 2),
            CLICKED: clicked,
        }
    )


def write_synthetic_days(data_dir: Path, days: int, rows: int, drift_on: int | None, seed: int = 0) -> list[Path]:
    """Writes one CSV file per day.

    Args:
        data_dir: Gets the files; days that are there already stay as they are.
        days: Number of days, from `FIRST_DAY` on.
        rows: Rows of a day.
        drift_on: Number of the day whose collector is broken, from 1; None breaks none.
        seed: Of all random numbers.

    Returns:
        The files that were written.

    Raises:
        ConfigError: There is no such day.
    """
    if drift_on is not None and not 1 <= drift_on <= days:
        raise ConfigError(f"--drift-on {drift_on}: there are days 1 to {days}; name one of them, or 0 for none")
    data_dir.mkdir(parents=True, exist_ok=True)
    shop, written = Shop.plant(days, seed), []
    with scratch_directory(data_dir, ".synthetic-days-") as scratch:
        for day in range(1, days + 1):
            file = data_dir / f"{FIRST_DAY + timedelta(days=day - 1)}.csv"
            if file.exists():
                continue
            staged = scratch / file.name
            pyarrow.csv.write_csv(draw_day(shop, day, rows, seed, day == drift_on), staged)
            staged.rename(file)
            written.append(file)
    return written
