"""Reads the memory use of this machine and this process from Linux. Does not import TensorFlow."""

import logging
from collections.abc import Iterator
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)

_RESET_PEAK = "5"


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can still allocate: the machine's available memory, or less under cgroup limits.

    Cached file contents count as available, because the kernel drops them on demand.
    See `proc_meminfo(5)` and the kernel's documentation of cgroup v1 and v2 memory controllers.
    """
    free = [_kilobytes(proc / "meminfo", "MemAvailable")]
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            free += _free_in_groups(cgroups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            free += _free_in_groups(cgroups / "memory", path, *names)
    return max(0, min(free))


def resident_bytes() -> int:
    """Resident memory of this process in bytes, including mapped libraries."""
    return psutil.Process().memory_info().rss


class PeakMemory:
    """Context manager that measures this process's peak resident memory with the kernel's counter.

    Attributes:
        before_bytes: Resident memory when the context was entered.
        peak_bytes: Peak since then. None if the process cannot reset its high-water mark (in some sandboxes), because
            the counter would then include earlier peaks.
    """

    before_bytes: int
    peak_bytes: int | None = None

    def __enter__(self) -> "PeakMemory":
        try:
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
            self._was_reset = True
        except OSError as error:
            _log.warning("peak memory will not be measured: /proc/self/clear_refs cannot be written (%s)", error)
            self._was_reset = False
        self.before_bytes = resident_bytes()
        return self

    def __exit__(self, *_: object) -> None:
        if self._was_reset:
            self.peak_bytes = _kilobytes(Path("/proc/self/status"), "VmHWM")


def _free_in_groups(root: Path, path: str, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    """Yields the memory left under the limit of a control group and of each of its ancestors."""
    group = root / path.strip("/")
    # In a container, the path may be that of the host, while the container sees its own group as the root.
    group = group if group.is_dir() else root
    for directory in (group, *group.parents[: len(group.relative_to(root).parts)]):
        if (directory / limit).is_file() and (text := (directory / limit).read_text().strip()) != "max":
            fields = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
            yield int(text) - int((directory / usage).read_text()) + int(fields[reclaimable])


def _kilobytes(path: Path, field: str) -> int:
    """Reads a field such as `VmRSS:  12 kB` and converts it to bytes."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{path} has no field {field}")
