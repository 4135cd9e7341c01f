"""Runs experiments with several seeds through the `recspan` command and compares them with published results.

python -m benchmarks.public_data && python -m benchmarks.published --data data/movielens-100k

Completed runs below the same root are answered from the cache, so an interrupted benchmark can continue.
"""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.retrieval_baselines import CANDIDATES, last_item, read_ratings
from components.example_gen.generated.clicks import PLANTED_FILE

_RESULT = Path(__file__).parent / "results" / "published.md"
# As the files name the data: from the directory of the repository.
_EXPERIMENTS = Path("benchmarks/experiments")
_NOT_PUSHED = 3
_FIVE_SPLITS = tuple({"data.split.seed": seed} for seed in range(1, 6))
_THREE_TRAININGS = tuple({"training.seed": seed} for seed in (42, 1, 2))

Settings = Mapping[str, Any]
# From the directory of MovieLens 100K and the metrics of a run: metrics of each baseline.
Baselines = Callable[[Path, Mapping[str, float]], Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        task: Data and task.
        protocol: Split and seeds.
        preset: Preset or experiment file to run.
        metrics: Metrics of the overall slice.
        runs: Settings of each run; the row shows mean and standard deviation over runs.
        settings: Settings shared by all runs.
        published: Published results of others.
        generated: Whether the data is generated; the best reachable score is then known and shown.
        names_files: Whether the experiment file names the files of its data.
        baselines: Measures baselines on the same split.
    """

    task: str
    protocol: str
    preset: str
    metrics: tuple[str, ...]
    runs: tuple[Settings, ...]
    settings: Settings = field(default_factory=dict)
    published: str = ""
    generated: bool = False
    names_files: bool = False
    baselines: Baselines = lambda data, result: {}

    @property
    def command(self) -> list[str]:
        """Arguments of `recspan` for the first run."""
        return _arguments(self.preset, {**self.settings, **self.runs[0]})


def _popularity(data: Path, result: Mapping[str, float]) -> Mapping[str, Mapping[str, float]]:
    """Of the run's own Evaluator. Where a query has one relevant item, its recall is its hit rate."""
    of_run = {
        name.removeprefix("popularity_"): value for name, value in result.items() if name.startswith("popularity_")
    }
    hit_rates = {name.replace("recall", "hit_rate"): value for name, value in of_run.items() if "recall" in name}
    return {"popularity": {**hit_rates, **of_run}}


def _next_movies(data: Path, result: Mapping[str, float]) -> Mapping[str, Mapping[str, float]]:
    ratings = read_ratings(data / "u.data")
    measured = {name: last_item(ratings, candidates) for name, candidates in CANDIDATES.items()}
    return {name: {"hit_rate_at_10": hit_rate, "ndcg_at_10": ndcg} for name, (hit_rate, ndcg) in measured.items()}


_RATINGS, _TWO_TOWER = "movielens-100k-neighbours", "movielens-100k-two-tower"
_TOP_10 = "stratified 75/25 per user, training items excluded, every test rating relevant"
_PUBLISHED_TOP_10 = "BPR .442 / .213, BiVAE .475 / .219 (seed 42)"


def _training_seeds(runs: tuple[Settings, ...]) -> str:
    return f"training seeds {', '.join(str(run['training.seed']) for run in runs)}"


ROWS: dict[str, Row] = {
    "ratings-u1": Row(
        "MovieLens 100K ratings",
        "u1, three training seeds",
        _RATINGS,
        ("rmse",),
        _THREE_TRAININGS,
        published="sRGCNN .929, GC-MC .905, IGMC .905, GLocal-K .889",
    ),
    "ratings-folds": Row(
        "MovieLens 100K ratings",
        "mean of u1 to u5",
        _RATINGS,
        ("rmse",),
        tuple({"data.split.by": f"u{fold}"} for fold in range(1, 6)),
        published="Surprise SVD .934, SVD++ .919 (five random folds)",
    ),
    "top-10": Row(
        "MovieLens 100K top 10",
        f"{_TOP_10}; seed 42, three training seeds",
        _TWO_TOWER,
        ("ndcg_at_10", "recall_at_10"),
        _THREE_TRAININGS,
        published=_PUBLISHED_TOP_10,
    ),
    "top-10-splits": Row(
        "MovieLens 100K top 10",
        "the same with split seeds 1 to 5",
        _TWO_TOWER,
        ("ndcg_at_10", "recall_at_10"),
        _FIVE_SPLITS,
        published=_PUBLISHED_TOP_10,
    ),
    "top-100": Row(
        "MovieLens 100K top 100",
        "random 80/20 of all ratings, training items kept / excluded; split seeds 1 to 5",
        _TWO_TOWER,
        ("row_recall_at_100_kept", "row_recall_at_100"),
        _FIVE_SPLITS,
        settings={"data.split.by": "random", "model.dropout": 0.5},
        published="TFRS tutorial .27-.29 kept",
    ),
    "next-movie": Row(
        "MovieLens 100K, next movie",
        f"each user's last rating, all other movies ranked; {_training_seeds(_THREE_TRAININGS)}",
        str(_EXPERIMENTS / "movielens-100k-sequences.yaml"),
        ("hit_rate_at_10", "ndcg_at_10"),
        _THREE_TRAININGS,
        baselines=_next_movies,
    ),
    "next-item": Row(
        "Amazon Beauty, next item",
        f"each user's last item, all other items ranked; {_training_seeds(_THREE_TRAININGS)}",
        str(_EXPERIMENTS / "amazon-beauty.yaml"),
        ("hit_rate_at_10", "ndcg_at_10"),
        _THREE_TRAININGS,
        published="SASRec .0605 / .0318, ICLRec .0744 / .0403",
        names_files=True,
        baselines=_popularity,
    ),
    "check-ins": Row(
        "Gowalla, top 20",
        f"LightGCN's split, training items excluded; {_training_seeds(_THREE_TRAININGS)}",
        str(_EXPERIMENTS / "gowalla.yaml"),
        ("recall_at_20", "ndcg_at_20"),
        _THREE_TRAININGS,
        published="MF-BPR .1627 / .1378, YoutubeDNN .1754 / .1473, LightGCN .182 / .1547, SimpleX .1872 / .1557",
        names_files=True,
        baselines=_popularity,
    ),
} | {
    f"clicks-{name}{suffix}": Row(
        f"generated clicks, {title}",
        f"a million rows, generator's seed {seed}, {_training_seeds(runs)}",
        f"criteo-{name}",
        ("auc", "log_loss"),
        runs,
        # The three models share one name, so that the components before the Trainer run once.
        settings={"name": f"clicks-{seed}", "data.generated.seed": seed},
        generated=True,
    )
    for name, title in (("dlrm", "DLRM"), ("dcn", "DCN v2"), ("wide-deep", "wide & deep"))
    for suffix, seed, runs in (("", 0, _THREE_TRAININGS), ("-fresh", 1, _THREE_TRAININGS[:1]))
    if name != "wide-deep" or not suffix
}

_TWO_GOALS = "two-goals"
_NAMES = (*ROWS, _TWO_GOALS)


def _two_goals(root: Path) -> Iterator[str]:
    """Lines of the table about models of two goals, which `benchmarks.multi_task` trains."""
    # Imports TensorFlow.
    from benchmarks.multi_task import compared

    for each in compared(root / _TWO_GOALS):
        values = " ".join(f"{value:.4f}" for value in each.values)
        yield (
            f"| generated views, two goals, {each.model} | three seeds of data, split and training |  | "
            f"{each.metric} | {each.best:.4f} | this goal alone {each.alone:.4f} | {_mean(each.values)} | {values} |"
        )


def main(
    data: Annotated[Path, typer.Option(help="Directory of MovieLens 100K.")] = Path("data/movielens-100k"),
    root: Annotated[Path, typer.Option(help="Directory for the output of the runs.")] = Path("runs/published"),
    row: Annotated[list[str] | None, typer.Option(help=f"Row: {', '.join(_NAMES)}. Default: all.")] = None,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Run the presets, print a table and write it to a file."""
    if unknown := set(row or ()) - set(_NAMES):
        raise typer.BadParameter(f"no row {', '.join(sorted(unknown))}; there are {', '.join(_NAMES)}")
    lines = [
        "| task | protocol | published | metric | best reachable | baselines | ours | runs |",
        "|---|---|---|---|---:|---|---:|---|",
    ]
    commands = []
    for name in row or _NAMES:
        if name == _TWO_GOALS:
            lines += _two_goals(root)
            commands.append(f"- {name}: `python -m benchmarks.multi_task`")
            continue
        wanted = ROWS[name]
        data_dir = root / f"clicks-{wanted.settings['data.generated.seed']}" if wanted.generated else data
        given = None if wanted.names_files else data_dir
        results = [_run(wanted.preset, {**wanted.settings, **changed}, given, root) for changed in wanted.runs]
        baselines = wanted.baselines(data, results[0])
        best = json.loads((data_dir / PLANTED_FILE).read_text())["test"] if wanted.generated else {}
        for metric in wanted.metrics:
            values = [result[metric] for result in results]
            lines.append(
                f"| {wanted.task} | {wanted.protocol} | {wanted.published} | {metric} | "
                f"{f'{best[metric]:.4f}' if best else ''} | "
                f"{', '.join(f'{baseline} {of[metric]:.4f}' for baseline, of in baselines.items())} | "
                f"{_mean(values)} | {' '.join(f'{v:.4f}' for v in values)} |"
            )
        commands.append(f"- {name}: `recspan {shlex.join(wanted.command)}`")
    report = "\n".join(
        [
            "# Comparison with published results",
            "",
            "Measured with `python -m benchmarks.published`: mean and standard deviation over runs. First run per row:",
            "",
            *commands,
            "",
            *lines,
            "",
            _versions(),
        ]
    )
    print(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report + "\n")


def _run(preset: str, settings: Settings, data_dir: Path | None, root: Path) -> dict[str, float]:
    """Runs a preset and returns the metrics of the overall slice, also if the model was not blessed."""
    of_data = ["--data-dir", str(data_dir)] if data_dir else []
    arguments = [*_arguments(preset, settings), *of_data, "--root", str(root)]
    print(f"recspan {shlex.join(arguments)}", file=sys.stderr, flush=True)
    process = subprocess.run(
        [Path(sys.executable).parent / "recspan", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if process.returncode not in (0, _NOT_PUSHED):
        raise SystemExit(f"recspan {shlex.join(arguments)} failed:\n{process.stdout}")
    last = max((root / "runs").iterdir())
    overall, *_ = json.loads((last / "summary.json").read_text())["evaluation"]["slices"]
    return overall


def _arguments(preset: str, settings: Settings) -> list[str]:
    # The values are parsed as YAML, which includes JSON.
    assignments = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return ["pipeline", "run", "--config", preset, *(text for each in assignments for text in ("--set", each))]


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f}" + (f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "tensorflow-recommenders", "tfx"))
    return f"Python {platform.python_version()}, {packages}."


if __name__ == "__main__":
    typer.run(main)
