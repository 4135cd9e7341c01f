"""The datasets that the product knows by name."""

from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets.criteo import CRITEO, SYNTHETIC_CRITEO
from trainer_module.data.datasets.movielens import FAMILY, SYNTHETIC
from trainer_module.errors import ConfigError
from trainer_module.suggestions import did_you_mean

_DATASETS = {dataset.name: dataset for dataset in (*FAMILY, SYNTHETIC, CRITEO, SYNTHETIC_CRITEO)}

DATASET_NAMES = tuple(_DATASETS)


def known_dataset(name: str) -> Dataset:
    """Returns a dataset by its name.

    Raises:
        ConfigError: None has that name; the message lists the known ones.
    """
    if name not in _DATASETS:
        hint = did_you_mean(name, DATASET_NAMES)
        raise ConfigError(f"no dataset is called {name!r}. {hint}Known: {', '.join(DATASET_NAMES)}")
    return _DATASETS[name]
