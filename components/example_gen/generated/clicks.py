"""Clicks of any number with a known best answer, in Criteo's format.

A row is clicked with the probability sigmoid(z), and z is a sum of

- an effect of each of the 26 tokens, which is smaller for rarer ones,
- an effect of each of the 13 numbers, linear in the standardized logarithm of 1 plus the number,
- for each of some pairs of columns, the dot product of a vector of the one token and a vector of the other.

Fields are missing at random; a missing number adds nothing, a missing token has its effect like any other. Dot products
of embeddings (DLRM) and crosses (DCN) can express all of it. What no model can beat is how the true probabilities
themselves score on the very test rows: their log loss and AUC are written beside the data.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from components.evaluation.click_metrics import click_metrics, click_sums, exact_auc
from components.example_gen.config import CLICK_SPLIT
from components.example_gen.rows import POSITION, TEST, Entities, Rows, positions
from components.scratch import scratch_directory
from trainer_module.data.datasets.criteo import CATEGORIES, LABEL, NUMBERS, SYNTHETIC_CRITEO
from trainer_module.errors import DataError

PLANTED_FILE = "planted.json"

VOCABULARY_SIZES = (10, 20, 50, 100, 200, 500, 2000, 10_000)
PAIRS = ((0, 1), (8, 9), (16, 17))

_ROWS_PER_FILE = 1_000_000
_ROWS_AT_ONCE = 100_000
_BIAS = -1.0
_TOKEN_EFFECT = 0.5
# The effect of the token of rank r is smaller by 1 / (1 + r / _RARITY).
_RARITY = 10.0
_NUMBER_EFFECT = 0.5
_PAIR_EFFECT = 0.5
_FACTORS = 2
# Of the logarithm of 1 plus a number.
_LOG_MEAN, _LOG_DEVIATION, _LOG_LIMIT = 2.0, 0.8, 2.0
# The probability of the token of rank r is proportional to 1 / (r + _SHIFT)^_POPULARITY.
_SHIFT, _POPULARITY = 2.0, 2.0


@dataclass(frozen=True)
class Score:
    """How the true probabilities score on some rows.

    Attributes:
        rows: How many.
        clicks: Share that is clicked.
        log_loss: No model can be expected to have a lower one.
        auc: Nor a higher one.
    """

    rows: int
    clicks: float
    log_loss: float
    auc: float


@dataclass(frozen=True)
class Planted:
    """What was generated, as JSON-able values.

    Attributes:
        rows: Rows in all.
        seed: Of all random numbers.
        split: The split that `test` is of.
        test: Scores on its test rows.
    """

    rows: int
    seed: int
    split: dict[str, Any]
    test: Score


@dataclass(frozen=True)
class Truth:
    """The planted function.

    Attributes:
        popularity: Per column, cumulative probability of its tokens by rank.
        missing: Per column of tokens, then of numbers: how often it is missing.
        tokens: Per column, effects `[tokens + 1]`; the last one is the missing token's.
        numbers: Effects `[13]`.
        factors: Per pair, vectors `[tokens + 1, _FACTORS]` of both columns.
    """

    popularity: tuple[np.ndarray, ...]
    missing: np.ndarray
    tokens: tuple[np.ndarray, ...]
    numbers: np.ndarray
    factors: tuple[tuple[np.ndarray, np.ndarray], ...]

    def log_odds(self, ranks: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """z of rows.

        Args:
            ranks: `[26, rows]`; the number of a column's tokens stands for a missing one.
            numbers: Standardized logarithms, `[13, rows]`; 0 for a missing one.
        """
        z = _BIAS + self.numbers @ numbers
        for effects, rank in zip(self.tokens, ranks, strict=True):
            z += effects[rank]
        for (one, other), (of_one, of_other) in zip(PAIRS, self.factors, strict=True):
            z += np.einsum("ij,ij->i", of_one[ranks[one]], of_other[ranks[other]])
        return z


def plant(seed: int) -> Truth:
    """Draws the planted function."""
    random = np.random.default_rng([seed, 0])
    sizes = [VOCABULARY_SIZES[number % len(VOCABULARY_SIZES)] for number in range(len(CATEGORIES))]

    def popularity(size: int) -> np.ndarray:
        weights = (np.arange(size) + _SHIFT) ** -_POPULARITY
        return np.cumsum(weights / weights.sum())

    def effects(size: int) -> np.ndarray:
        rarity = np.append(1 / (1 + np.arange(size) / _RARITY), 1.0)
        return _TOKEN_EFFECT * rarity * random.standard_normal(size + 1)

    def vectors(size: int) -> np.ndarray:
        scale = np.sqrt(_PAIR_EFFECT) * _FACTORS**-0.25
        return scale * random.standard_normal((size + 1, _FACTORS))

    return Truth(
        popularity=tuple(popularity(size) for size in sizes),
        missing=np.where(random.random(len(CATEGORIES) + len(NUMBERS)) < 0.5, random.uniform(0.02, 0.3), 0.0),
        tokens=tuple(effects(size) for size in sizes),
        numbers=_NUMBER_EFFECT * random.standard_normal(len(NUMBERS)),
        factors=tuple((vectors(sizes[one]), vectors(sizes[other])) for one, other in PAIRS),
    )


def draw(truth: Truth, rows: int, random: np.random.Generator) -> tuple[pa.Table, np.ndarray]:
    """Draws rows.

    Returns:
        Criteo's columns, null where a field is missing, and each row's probability of a click, float64 `[rows]`.
    """
    missing = random.random((len(truth.missing), rows)) < truth.missing[:, np.newaxis]
    of_tokens, of_numbers = missing[: len(CATEGORIES)], missing[len(CATEGORIES) :]
    ranks = np.stack([np.searchsorted(shares, random.random(rows)) for shares in truth.popularity])
    sizes = np.array([len(shares) for shares in truth.popularity])
    ranks = np.where(of_tokens, sizes[:, np.newaxis], np.minimum(ranks, sizes[:, np.newaxis] - 1))
    standard = np.clip(random.standard_normal((len(NUMBERS), rows)), -_LOG_LIMIT, _LOG_LIMIT)
    integers = np.round(np.expm1(_LOG_MEAN + _LOG_DEVIATION * standard)).astype(np.int64)
    # The effect is of the number that is written, so that rounding is no noise.
    standard = np.where(of_numbers, 0.0, (np.log1p(integers) - _LOG_MEAN) / _LOG_DEVIATION)
    probabilities = 1 / (1 + np.exp(-truth.log_odds(ranks, standard)))
    columns: dict[str, Any] = {LABEL: (random.random(rows) < probabilities).astype(np.int64)}
    columns |= {name: pa.array(integers[number], mask=of_numbers[number]) for number, name in enumerate(NUMBERS)}
    for number, name in enumerate(CATEGORIES):
        names = pa.array([f"{_code(number, rank):08x}" for rank in range(sizes[number])])
        columns[name] = names.take(pa.array(ranks[number], mask=of_tokens[number]))
    return pa.table(columns), probabilities


def write_synthetic_criteo(data_dir: Path, rows: int, seed: int = 0) -> Planted:
    """Writes `day_0`, `day_1` and so on, and `planted.json`, unless just these are there already.

    Args:
        data_dir: Gets the files.
        rows: In all.
        seed: The same seed and number of rows give the same bytes.

    Returns:
        What was planted, with the best reachable metrics on the test rows of the default `data.split`.

    Raises:
        DataError: The directory holds something else.
    """
    if data_dir.exists():
        return _require_same(data_dir, rows, seed)
    truth, protocol = plant(seed), CLICK_SPLIT.protocol(SYNTHETIC_CRITEO.tables.interactions)
    labels, probabilities = [], []
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(data_dir.parent, ".synthetic-criteo-") as scratch:
        staged = scratch / "staged"
        staged.mkdir()
        for day, first in enumerate(range(0, rows, _ROWS_PER_FILE)):
            place = Entities(None, None, (f"day_{day}",))
            in_file = min(_ROWS_PER_FILE, rows - first)
            with (staged / f"day_{day}").open("wb") as file:
                for start in range(0, in_file, _ROWS_AT_ONCE):
                    count = min(_ROWS_AT_ONCE, in_file - start)
                    table, of_rows = draw(truth, count, np.random.default_rng([seed, 1, day, start]))
                    _append(table, file)
                    lines = positions(0, start + 1 + np.arange(count))
                    batch = pa.RecordBatch.from_pydict({POSITION: pa.array(lines)})
                    in_test = protocol.assign(Rows(0, batch), None, place) == TEST
                    labels.append(table[LABEL].to_numpy()[in_test])
                    probabilities.append(of_rows[in_test])
        score = _score(np.concatenate(labels), np.concatenate(probabilities))
        planted = Planted(rows, seed, CLICK_SPLIT.model_dump(), score)
        (staged / PLANTED_FILE).write_text(json.dumps(asdict(planted), indent=2))
        staged.rename(data_dir)
    return planted


def read_planted(data_dir: Path) -> Planted:
    """What `write_synthetic_criteo` wrote beside the data.

    Raises:
        DataError: It is not there.
    """
    path = data_dir / PLANTED_FILE
    if not path.exists():
        raise DataError(f"{data_dir} holds no {PLANTED_FILE}, so it was not generated; name another directory")
    fields = json.loads(path.read_text())
    return Planted(**fields | {"test": Score(**fields["test"])})


def _require_same(data_dir: Path, rows: int, seed: int) -> Planted:
    planted = read_planted(data_dir)
    if (planted.rows, planted.seed) != (rows, seed):
        raise DataError(
            f"{data_dir} holds {planted.rows:,} rows of seed {planted.seed}, not {rows:,} of seed {seed}; remove it, "
            "set data.generated.rows and data.generated.seed to what is there, or name another directory with "
            "--data-dir"
        )
    return planted


def _score(labels: np.ndarray, probabilities: np.ndarray) -> Score:
    metrics = click_metrics(click_sums(labels, probabilities))
    return Score(len(labels), float(labels.mean()), metrics["log_loss"], exact_auc(labels, probabilities))


def _append(table: pa.Table, file: Any) -> None:
    options = pacsv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    pacsv.write_csv(table, file, options)


def _code(column: int, rank: int) -> int:
    """A number of 32 bits, another one for every column and rank; looks like a hash."""
    return (rank * len(CATEGORIES) + column) * 0x9E3779B1 % 2**32
