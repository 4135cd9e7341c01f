"""Generates the raw files of the synthetic datasets before a run."""

from pathlib import Path

from components.example_gen.synthetic import write_synthetic
from components.flat_example_gen.config import CriteoIngestConfig
from components.flat_example_gen.synthetic import write_synthetic_criteo
from pipeline.config import PipelineConfig
from trainer_module.data.datasets.criteo import SYNTHETIC_CRITEO
from trainer_module.data.datasets.movielens import SYNTHETIC

# The sizes of MovieLens 100K.
_DEFAULT_SIZES = {"num_ratings": 100_000, "num_users": 943, "num_items": 1682}


def generate_if_missing(config: PipelineConfig, directory: Path) -> None:
    """Writes the raw files if the experiment uses a synthetic dataset and they do not exist yet.

    Args:
        config: The experiment.
        directory: Where the run reads its raw files.
    """
    if isinstance(config.data, CriteoIngestConfig) and config.data.dataset == SYNTHETIC_CRITEO.name:
        write_synthetic_criteo(directory, config.data.rows, config.data.seed)
    if config.dataset.directory == SYNTHETIC.directory and not directory.exists():
        write_synthetic(directory, **_DEFAULT_SIZES, seed=0)
