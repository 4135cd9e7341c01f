"""The datasets that the product knows by name."""

import difflib

from trainer_module.datasets.movielens import (
    MOVIELENS_100K,
    MOVIELENS_100K_RETRIEVAL,
    SYNTHETIC,
    SYNTHETIC_RETRIEVAL,
)
from trainer_module.datasets.spec import DatasetSpec
from trainer_module.errors import ConfigError

_DATASETS = {
    dataset.name: dataset for dataset in (MOVIELENS_100K, SYNTHETIC, MOVIELENS_100K_RETRIEVAL, SYNTHETIC_RETRIEVAL)
}

DATASET_NAMES = tuple(_DATASETS)


def dataset_spec(name: str) -> DatasetSpec:
    """Returns the dataset called `name`.

    Raises:
        ConfigError: There is none; the message lists the known ones.
    """
    if name not in _DATASETS:
        near = difflib.get_close_matches(name, DATASET_NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"data.dataset: no dataset is called {name!r}; known: {', '.join(DATASET_NAMES)}.{hint}")
    return _DATASETS[name]
