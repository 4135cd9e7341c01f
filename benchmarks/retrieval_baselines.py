"""Measures popularity, item kNN and EASE on MovieLens 100K, as baselines for two-tower and sequence models.

python -m benchmarks.retrieval_baselines --data data/movielens-100k
"""

import functools
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.csv
import typer
from scipy import sparse

from components.evaluation import baselines, ranking_metrics
from components.example_gen.splits.protocols.stratified import UserRows, draw_test_rows

_RESULT = Path(__file__).parent / "results" / "retrieval_baselines.md"
_SEEDS = (42, 1, 2, 3, 4, 5)
Fit = Callable[[sparse.csr_matrix], baselines.Scorer]
CANDIDATES: dict[str, list[Fit]] = {
    "popularity": [baselines.popularity],
    "item kNN": [functools.partial(baselines.item_knn, neighbours=n) for n in (10, 20, 40, 100, 200)],
    "EASE": [functools.partial(baselines.ease, regularization=value) for value in (50, 100, 200, 400, 800)],
}


@dataclass(frozen=True)
class Ratings:
    """Users and items of all ratings, in the order of the file.

    Attributes:
        user: Index of each rating's user, int64 `[rows]`.
        item: Index of each rating's item, int64 `[rows]`.
        time: Of each rating, Unix time, int64 `[rows]`.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray

    def matrix(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Binary users x items matrix of the given rows."""
        shape = (int(self.user.max()) + 1, int(self.item.max()) + 1)
        return baselines.binary_matrix(self.user[rows], self.item[rows], shape)


def main(
    data: Annotated[Path, typer.Option(help="Directory with u.data.")] = Path("data/movielens-100k"),
    output: Annotated[Path, typer.Option(help="File for the result tables.")] = _RESULT,
) -> None:
    """Measure all baselines, print two tables and write them to a file."""
    ratings = read_ratings(data / "u.data")
    top_10, top_100, next_item = {}, {}, {}
    for name, candidates in CANDIDATES.items():
        top_10[name] = [full_ranking(ratings, candidates, seed) for seed in _SEEDS]
        top_100[name] = [row_accuracy(ratings, candidates, seed) for seed in _SEEDS]
        next_item[name] = last_item(ratings, candidates)
    tables = (_top_10_table(top_10), _top_100_table(top_100), _next_item_table(next_item))
    report = "\n".join([*(line for table in tables for line in (*table, "")), _versions()])
    print(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report + "\n")


def read_ratings(path: Path) -> Ratings:
    """Reads MovieLens' `u.data`."""
    table = pa.csv.read_csv(
        path,
        pa.csv.ReadOptions(column_names=["user", "item", "rating", "timestamp"]),
        pa.csv.ParseOptions(delimiter="\t"),
    )
    user, item = (np.unique(table[name].to_numpy(), return_inverse=True)[1] for name in ("user", "item"))
    return Ratings(user.astype(np.int64), item.astype(np.int64), table["timestamp"].to_numpy())


def full_ranking(ratings: Ratings, candidates: Sequence[Fit], seed: int) -> tuple[float, float]:
    """Mean nDCG@10 and recall@10 over users.

    Each user's rows are split 75/25. Training items are excluded; every test rating is relevant.
    """
    test = _stratified(ratings, np.arange(len(ratings.user)), seed)
    fit = _chosen(ratings, np.flatnonzero(~test), candidates)
    return _top_10(ratings.matrix(~test), ratings.matrix(test), fit)


def row_accuracy(ratings: Ratings, candidates: Sequence[Fit], seed: int) -> tuple[float, float]:
    """Top-100 accuracy over test rows, with training items kept and excluded.

    All ratings are split 80/20 at random. All titles are candidates.
    """
    order = np.random.default_rng(seed).permutation(len(ratings.user))
    test, train = np.split(order, [len(order) // 5])
    known = ratings.matrix(train)
    scores = _chosen(ratings, np.sort(train), candidates)(known)(known)
    user, item = ratings.user[test], ratings.item[test]
    kept, excluded = (
        float((baselines.top_k(scores, 100, seen)[user] == item[:, None]).any(axis=1).mean()) for seen in (None, known)
    )
    return kept, excluded


def last_item(ratings: Ratings, candidates: Sequence[Fit]) -> tuple[float, float]:
    """Mean hit rate and nDCG at 10 over users.

    Each user's last rating is test and the one before it validation, as in `leave-last-out`. Baselines are fitted on
    the other rows; the candidate with the best nDCG on the validation rows is taken. For the test rows, a user's known
    items include the validation row.
    """
    order = np.lexsort((np.arange(len(ratings.user)), ratings.time, ratings.user))
    last = np.append(np.flatnonzero(np.diff(ratings.user[order])), len(order) - 1)
    test, validation = order[last], order[last - 1]
    train = np.setdiff1d(order, np.concatenate([test, validation]))
    known = ratings.matrix(train)

    def ranked(fit: Fit, queries: sparse.csr_matrix, rows: np.ndarray) -> tuple[float, float]:
        lists = baselines.top_k(fit(known)(queries), 10, seen=queries)
        hit = _hits(ratings.matrix(rows), lists)
        one = np.ones(len(lists), np.int64)
        hit_rate, ndcg = ranking_metrics.hit_rate(hit, one, 10), ranking_metrics.ndcg(hit, one, 10)
        return float(np.mean(hit_rate)), float(np.mean(ndcg))

    fit = max(candidates, key=lambda fit: ranked(fit, known, validation)[1])
    return ranked(fit, ratings.matrix(np.concatenate([train, validation])), test)


def _chosen(ratings: Ratings, train: np.ndarray, candidates: Sequence[Fit]) -> Fit:
    """The candidate with the best nDCG@10 on a quarter of each user's training rows, fitted on the rest."""
    held_out = _stratified(ratings, train, seed=0)
    known, relevant = ratings.matrix(train[~held_out]), ratings.matrix(train[held_out])
    return max(candidates, key=lambda fit: _top_10(known, relevant, fit)[0])


def _stratified(ratings: Ratings, rows: np.ndarray, seed: int) -> np.ndarray:
    """Mask of the rows that are in the held-out quarter of their user's rows, bool `[rows]`."""
    lines = rows + 1
    return np.isin(lines, draw_test_rows(UserRows(ratings.user[rows], ratings.item[rows], lines), 0.25, seed))


def _top_10(known: sparse.csr_matrix, relevant: sparse.csr_matrix, fit: Fit) -> tuple[float, float]:
    lists = baselines.top_k(fit(known)(known), 10, seen=known)
    hit = _hits(relevant, lists)
    sizes = np.diff(relevant.indptr)
    return float(np.nanmean(ranking_metrics.ndcg(hit, sizes, 10))), float(
        np.nanmean(ranking_metrics.recall(hit, sizes, 10))
    )


def _hits(relevant: sparse.csr_matrix, lists: np.ndarray) -> np.ndarray:
    """Which items of lists are relevant, bool `[users, k]`; fillers (-1) of lists that are too short are not."""
    return (relevant[np.arange(len(lists))[:, None], lists].toarray() > 0) & (lists >= 0)


def _top_10_table(results: dict[str, Sequence[tuple[float, float]]]) -> list[str]:
    return [
        "# Baselines of retrieval on MovieLens 100K",
        "",
        "Measured with `python -m benchmarks.retrieval_baselines`. The number of neighbours of item kNN (10 to 200) "
        "and the lambda of EASE (50 to 800) are chosen per split by nDCG@10 on a quarter of its training rows, never "
        "on its test rows.",
        "",
        "## Top 10, full ranking",
        "",
        "Stratified random split, 75/25 per user. Training items are excluded, every test rating is relevant. Means "
        f"over users. Seeds {', '.join(map(str, _SEEDS))}: seed 42 alone, then mean and standard deviation of the "
        "other five.",
        "",
        "| baseline | nDCG@10, seed 42 | recall@10, seed 42 | nDCG@10, others | recall@10, others |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {first[0]:.3f} | {first[1]:.3f} | {_mean(others, 0)} | {_mean(others, 1)} |"
            for name, (first, *others) in results.items()
        ),
    ]


def _top_100_table(results: dict[str, Sequence[tuple[float, float]]]) -> list[str]:
    return [
        "## Top-100 accuracy",
        "",
        "Random 80/20 split of all ratings; all titles are candidates. Share of test ratings whose title is in the "
        "user's top 100, with training items kept and excluded. Mean and standard deviation over seeds "
        f"{', '.join(map(str, _SEEDS))}.",
        "",
        "| baseline | kept | excluded |",
        "|---|---:|---:|",
        *(f"| {name} | {_mean(values, 0)} | {_mean(values, 1)} |" for name, values in results.items()),
    ]


def _next_item_table(results: dict[str, tuple[float, float]]) -> list[str]:
    return [
        "## Next item",
        "",
        "Each user's last rating is test, the one before it validation. All items are ranked but the user's earlier "
        "ones. Number of neighbours and lambda are chosen by nDCG@10 on the validation rows.",
        "",
        "| baseline | HR@10 | nDCG@10 |",
        "|---|---:|---:|",
        *(f"| {name} | {hit_rate:.4f} | {ndcg:.4f} |" for name, (hit_rate, ndcg) in results.items()),
    ]


def _mean(values: Sequence[tuple[float, float]], column: int) -> str:
    of_column = [row[column] for row in values]
    return f"{np.mean(of_column):.3f} ± {np.std(of_column, ddof=1):.3f}"


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy"))
    return f"Python {platform.python_version()}, {packages}."


if __name__ == "__main__":
    typer.run(main)
