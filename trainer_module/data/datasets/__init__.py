"""The datasets that the product knows by name."""

import difflib

from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets.criteo import CRITEO, SYNTHETIC_CRITEO
from trainer_module.data.datasets.movielens import FAMILY, SYNTHETIC
from trainer_module.errors import ConfigError

_DATASETS = {dataset.name: dataset for dataset in (*FAMILY, SYNTHETIC, CRITEO, SYNTHETIC_CRITEO)}

DATASET_NAMES = tuple(_DATASETS)


def known_dataset(name: str) -> Dataset:
    """Returns a dataset by its name.

    Raises:
        ConfigError: None has that name; the message lists the known ones.
    """
    if name not in _DATASETS:
        near = difflib.get_close_matches(name, DATASET_NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no dataset is called {name!r}; known: {', '.join(DATASET_NAMES)}.{hint}")
    return _DATASETS[name]
