"""Finds the modules of a package that are extensions of one kind, so that a new one needs no entry elsewhere."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any


def registered(package: str, path: Iterable[str], name: str) -> Iterator[Any]:
    """What every module of a package registers. A package calls this with its own `__name__` and `__path__`.

    Args:
        package: Dotted name of the package.
        path: Where its modules lie.
        name: The variable that each module sets.

    Yields:
        Its value in each module, in the order of the modules' names.

    Raises:
        ImportError: A module does not set it.
    """
    for module in pkgutil.iter_modules(path):
        full_name = f"{package}.{module.name}"
        found = importlib.import_module(full_name)
        if not hasattr(found, name):
            raise ImportError(f"{full_name} sets no {name}; every module of {package} registers itself by it")
        yield getattr(found, name)
