"""The split protocols, one module each. A module registers its config as `SPLIT`."""

from collections.abc import Iterable, Mapping
from typing import get_args

from components.example_gen.splits.protocol import Split
from trainer_module.registration import registered


def _by_name(splits: Iterable[type[Split]]) -> Mapping[str, type[Split]]:
    table: dict[str, type[Split]] = {}
    for split in splits:
        for name in get_args(split.model_fields["by"].annotation):
            if name in table:
                raise ImportError(f"{split.__module__}: split {name!r} is taken by {table[name].__module__}")
            table[name] = split
    return table


# Configs by the names that `data.split.by` may give.
PROTOCOLS = _by_name(registered(__name__, __path__, "SPLIT"))
