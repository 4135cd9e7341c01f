"""The datasets that the product knows by name. Each module registers its descriptions as `DATASETS`."""

from trainer_module.data.dataset import Dataset
from trainer_module.errors import ConfigError
from trainer_module.registration import registered
from trainer_module.suggestions import did_you_mean

_DATASETS = {dataset.name: dataset for found in registered(__name__, __path__, "DATASETS") for dataset in found}

# Those that are generated come last.
DATASET_NAMES = tuple(sorted(_DATASETS, key=lambda name: name.startswith("synthetic")))


def known_dataset(name: str) -> Dataset:
    """Returns a dataset by its name.

    Raises:
        ConfigError: None has that name; the message lists the known ones.
    """
    if name not in _DATASETS:
        hint = did_you_mean(name, DATASET_NAMES)
        raise ConfigError(f"no dataset is called {name!r}. {hint}Known: {', '.join(DATASET_NAMES)}")
    return _DATASETS[name]
