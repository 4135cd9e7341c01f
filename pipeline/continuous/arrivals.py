"""Which spans are there, and whether their files are still being written."""

import glob
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from components.example_gen.config import DataConfig
from components.example_gen.spans import as_ranges, read_spans, wildcards
from trainer_module.data.paths import is_remote
from trainer_module.errors import ConfigError


@dataclass(frozen=True)
class Arrival:
    """A span whose files are there.

    Attributes:
        span: Its number.
        name: As the experiment names it: the number, or the date.
        digest: Differs once a file or version was added, removed or written to.
        written: When a file was last written to, in seconds since 1970.
    """

    span: int
    name: str
    digest: str
    written: float

    def is_settled(self, seconds: float) -> bool:
        """Whether no file was written to for so many seconds."""
        return time.time() - self.written >= seconds


def check_watchable(data: DataConfig, directory: str) -> None:
    """Checks that spans of an experiment can be watched.

    Raises:
        ConfigError: Files have no spans, the window is fixed, or the files do not lie on this machine.
    """
    if not data.has_spans:
        raise ConfigError(
            "--continuous: no file pattern has a marker of spans; name one in data.interactions.files, as in "
            "'{YYYY}-{MM}-{DD}.csv' (docs/own_data.md)"
        )
    if data.last_span is not None:
        raise ConfigError("--continuous: data.last_span fixes the end of the window; leave it out (see --first-span)")
    if is_remote(directory):
        raise ConfigError(
            f"--continuous: {directory} lies on another machine, and only directories of this one are watched. Run "
            "`recspan pipeline run` by a schedule instead (docs/every_day.md)"
        )


def find_arrivals(data: DataConfig, directory: str) -> dict[int, Arrival]:
    """The spans whose files lie in a directory, by number.

    Args:
        data: With paths relative to `directory` (`DataConfig.portable`).
        directory: Of the raw files.

    Raises:
        DataError: A path has no number, or no date, where the marker stands.
    """
    patterns = data.described().tables.interactions.files
    found: dict[str, os.stat_result] = {}
    for pattern in map(wildcards, patterns):
        for name in glob.glob(pattern, root_dir=directory):
            path = os.path.join(directory, name)
            try:
                facts = os.stat(path)
            except FileNotFoundError:
                # Moved away since the directory was listed.
                continue
            if facts.st_size:
                found[path] = facts
    by_span: dict[int, dict[str, os.stat_result]] = {}
    for file in read_spans(directory, sorted(found), patterns):
        by_span.setdefault(file.span, {})[file.path] = found[file.path]
    return {span: _arrival(span, by_span[span], data.by_date) for span in sorted(by_span)}


def _arrival(span: int, files: Mapping[str, os.stat_result], by_date: bool) -> Arrival:
    digest = hashlib.sha256()
    for path, facts in files.items():
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    written = max(facts.st_mtime for facts in files.values())
    return Arrival(span, as_ranges([span], by_date), digest.hexdigest(), written)
