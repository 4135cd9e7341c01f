"""How much memory a run may use, and what of it each holder of rows gets. Does not import TensorFlow.

The budget reaches components through an environment variable, because it is no part of what they compute: the same
experiment has the same cache keys and the same results whatever the memory.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer_module.errors import ConfigError

GIGABYTE = 10**9
# Gigabytes that a run may use, as `--memory-gb` says.
ENVIRONMENT = "RECSPAN_MEMORY_GB"

# For TensorFlow, TFX, Beam and the graphs of a run. `benchmarks.growth` on its fewest rows measures 1.3 GB for ratings
# of four columns and 2.7 for clicks of forty.
FIXED_BYTES = 2 * GIGABYTE
# A run on little more than that could hold no rows.
LEAST_GB = 2.5

# Of the machine's memory, unless the experiment says otherwise.
_DEFAULT_SHARE = 0.8
# Of what is left beside the fixed part. Splits are held once as columns; a batch and what the step makes of it, the
# tables and their slots need the rest.
_TRAINING_SHARE, _EVALUATION_SHARE = 0.4, 0.1

# A cgroup of version 1 without a limit names a number of this size.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes that a run may use.

    Attributes:
        total: Of one process, with everything.
    """

    total: int

    @property
    def for_rows(self) -> int:
        """What is left beside frameworks."""
        return max(0, self.total - FIXED_BYTES)

    @property
    def training_cache(self) -> int:
        """The transformed training split, before it goes to files."""
        return int(_TRAINING_SHARE * self.for_rows)

    @property
    def evaluation_cache(self) -> int:
        """The transformed eval split, before every evaluation reads the files again."""
        return int(_EVALUATION_SHARE * self.for_rows)


def budget(environment: Mapping[str, str] = os.environ) -> MemoryBudget:
    """The budget of this process: the stated one, or a share of the machine's memory.

    Raises:
        ConfigError: The environment states nonsense.
    """
    text = environment.get(ENVIRONMENT)
    if text is None:
        return MemoryBudget(int(_DEFAULT_SHARE * machine_bytes()))
    try:
        gigabytes = float(text)
    except ValueError:
        raise ConfigError(f"{ENVIRONMENT}={text}: expected a number of gigabytes, as in 16") from None
    check(gigabytes, ENVIRONMENT)
    return MemoryBudget(int(gigabytes * GIGABYTE))


def check(gigabytes: float, name: str) -> None:
    """Checks that a budget can be meant.

    Args:
        gigabytes: The budget.
        name: Of the setting, for the message.

    Raises:
        ConfigError: It is too small for the frameworks, or more than the machine has.
    """
    if not gigabytes >= LEAST_GB:
        raise ConfigError(
            f"{name}: {gigabytes:g} GB is too little; {FIXED_BYTES / GIGABYTE:g} are set aside for TensorFlow, TFX "
            f"and a run's graphs. Give at least {LEAST_GB:g}, or leave it out for {_DEFAULT_SHARE:.0%} of this "
            "machine's memory"
        )
    available = machine_bytes()
    if gigabytes * GIGABYTE > available:
        raise ConfigError(
            f"{name}: {gigabytes:g} GB is more than the {available / GIGABYTE:.1f} GB that this machine, or its "
            "container, has; give less, or leave it out"
        )


@contextmanager
def stated(gigabytes: float | None) -> Iterator[None]:
    """States the budget of this process and those that it starts; None leaves what the environment says."""
    before = os.environ.get(ENVIRONMENT)
    if gigabytes is not None:
        os.environ[ENVIRONMENT] = repr(gigabytes)
    try:
        yield
    finally:
        if gigabytes is not None:
            os.environ.pop(ENVIRONMENT)
            if before is not None:
                os.environ[ENVIRONMENT] = before


def machine_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory of this machine in bytes, or less under a cgroup's limit (version 1 or 2)."""
    (total,) = [line.split()[1] for line in (proc / "meminfo").read_text().splitlines() if line.startswith("MemTotal:")]
    sizes = [1024 * int(total)]
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            sizes += _limits(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            sizes += _limits(cgroups / "memory", path, "memory.limit_in_bytes")
    return min(sizes)


def _limits(root: Path, path: str, name: str) -> Iterator[int]:
    """The limits of a control group and of each of its ancestors."""
    group = root / path.strip("/")
    # In a container, the path may be that of the host, while the container sees its own group as the root.
    group = group if group.is_dir() else root
    for directory in (group, *group.parents[: len(group.relative_to(root).parts)]):
        file = directory / name
        if file.is_file() and (text := file.read_text().strip()) != "max" and int(text) < _NO_LIMIT:
            yield int(text)
