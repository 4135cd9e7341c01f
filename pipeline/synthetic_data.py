"""Generates the raw files of the synthetic datasets before a run."""

from pathlib import Path

from components.example_gen.config import GeneratedClicks
from components.example_gen.generated.clicks import write_synthetic_criteo
from components.example_gen.generated.days import write_synthetic_days
from components.example_gen.generated.goals import write_synthetic_goals
from components.example_gen.generated.ratings import write_synthetic
from pipeline.config import PipelineConfig
from trainer_module.data.datasets.criteo import SYNTHETIC_CRITEO
from trainer_module.data.datasets.days import SYNTHETIC_DAYS
from trainer_module.data.datasets.goals import SYNTHETIC_GOALS
from trainer_module.data.datasets.movielens import SYNTHETIC

# The sizes of MovieLens 100K.
_DEFAULT_SIZES = {"num_ratings": 100_000, "num_users": 943, "num_items": 1682}
_VIEWS = 100_000
DAYS, ROWS_PER_DAY, DRIFT_ON = 5, 20_000, 4


def generate_if_missing(config: PipelineConfig, directory: str) -> None:
    """Writes the raw files if the experiment uses a synthetic dataset and they do not exist yet.

    Args:
        config: The experiment.
        directory: Where the run reads its raw files; local for synthetic datasets.
    """
    if config.data.dataset == SYNTHETIC_CRITEO.name:
        generated = config.data.generated or GeneratedClicks()
        write_synthetic_criteo(Path(directory), generated.rows, generated.seed)
    if config.data.dataset == SYNTHETIC.name and not Path(directory).exists():
        write_synthetic(Path(directory), **_DEFAULT_SIZES, seed=0)
    if config.data.dataset == SYNTHETIC_GOALS.name and not Path(directory).exists():
        write_synthetic_goals(Path(directory), _VIEWS, seed=0)
    if config.data.dataset == SYNTHETIC_DAYS.name and not Path(directory).exists():
        write_synthetic_days(Path(directory), DAYS, ROWS_PER_DAY, DRIFT_ON, seed=0)
