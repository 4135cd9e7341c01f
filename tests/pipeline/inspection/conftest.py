"""Invented shops and film clubs, small enough to check by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes a CSV file into a directory of its own and returns its path."""

    def to_file(name: str, columns: dict[str, list], delimiter: str = ",", header: bool = True) -> str:
        path = tmp_path / name
        rows = [delimiter.join(columns)] if header else []
        rows += [
            delimiter.join("" if v is None else str(v) for v in row) for row in zip(*columns.values(), strict=True)
        ]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return str(path)

    return to_file


@pytest.fixture
def ratings() -> dict[str, list]:
    """600 stars of 40 users for 30 films, at rising times."""
    random = np.random.default_rng(7)
    users, films = random.integers(0, 40, 600), random.integers(0, 30, 600)
    stars = np.clip(np.round(3 + (films % 3 - 1) + random.normal(0, 1, 600)), 1, 5).astype(int)
    return {
        "userId": [f"u{n}" for n in users],
        "filmId": [f"f{n}" for n in films],
        "stars": stars.tolist(),
        "ts": (1_700_000_000 + 60 * np.arange(600)).tolist(),
    }


@pytest.fixture
def shop(write) -> tuple[Path, list[str]]:
    """Purchases, items and customers whose identifiers are numbers from 1 up."""
    random = np.random.default_rng(3)
    items = random.integers(1, 41, 500)
    events = {
        "customer": random.integers(1, 31, 500).tolist(),
        "sku": items.tolist(),
        "ts": (1_600_000_000 + 100 * np.arange(500)).tolist(),
    }
    catalog = {
        "sku": list(range(1, 51)),
        "name": [f"Invented thing number {n}" for n in range(1, 51)],
        "brand": [f"brand {n % 5}" for n in range(1, 51)],
        "tags": [f"red|{'big' if n % 2 else 'small'}" if n % 3 else "red" for n in range(1, 51)],
        "price": [n + 0.5 for n in range(1, 51)],
    }
    customers = {"customer": list(range(1, 31)), "country": ["NL" if n % 2 else "BE" for n in range(30)]}
    files = [write("events.csv", events), write("items.csv", catalog), write("customers.csv", customers)]
    return Path(files[0]).parent, files


def as_frame(columns: dict[str, list]) -> pl.DataFrame:
    return pl.DataFrame(columns)
