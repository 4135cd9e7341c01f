"""On what a result was measured."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version


def measured_on(packages: Sequence[str], *others: str) -> str:
    """A line for the end of a page of results.

    Args:
        packages: Installed packages whose versions matter.
        others: Further packages with their versions, of other environments.
    """
    versions = [f"{name} {version(name)}" for name in packages]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{', '.join([*versions, *others])}."
    )
