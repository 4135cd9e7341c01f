"""The datasets that the product knows by name."""

from trainer_module.data.datasets.criteo import CRITEO, SYNTHETIC_CRITEO
from trainer_module.data.datasets.flat import FlatDataset
from trainer_module.data.datasets.movielens import (
    MOVIELENS_100K,
    MOVIELENS_100K_NEIGHBOURS,
    MOVIELENS_100K_RETRIEVAL,
    SYNTHETIC,
    SYNTHETIC_NEIGHBOURS,
    SYNTHETIC_RETRIEVAL,
)
from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import ConfigError
from trainer_module.suggestions import did_you_mean

_DATASETS = {
    dataset.name: dataset
    for dataset in (
        MOVIELENS_100K,
        SYNTHETIC,
        MOVIELENS_100K_NEIGHBOURS,
        SYNTHETIC_NEIGHBOURS,
        MOVIELENS_100K_RETRIEVAL,
        SYNTHETIC_RETRIEVAL,
        CRITEO,
        SYNTHETIC_CRITEO,
    )
}

DATASET_NAMES = tuple(_DATASETS)


def dataset_spec(key: str | FlatDataset) -> DatasetSpec:
    """Returns a dataset by its name, or from its description.

    Raises:
        ConfigError: None has that name; the message lists the known ones.
    """
    if isinstance(key, FlatDataset):
        return key.spec()
    name = key
    if name not in _DATASETS:
        raise ConfigError(
            f"data.dataset: no dataset is called {name!r}. {did_you_mean(name, DATASET_NAMES, always=False)}"
            f"Known: {', '.join(DATASET_NAMES)}"
        )
    return _DATASETS[name]
