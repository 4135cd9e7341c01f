"""Buckets as directories."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.rehearsal.spec import Task
from trainer_module.errors import ConfigError

_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]*)")
_INPUT_BASE = "input_base"


class Buckets:
    """Directories that stand for the buckets that a job names."""

    def __init__(self, directory: Path):
        """Keeps where they lie.

        Raises:
            ConfigError: The directory's name cannot stand within JSON, where URIs stand.
        """
        if re.search(r'["\\\x00-\x1f{}]', str(directory)):
            raise ConfigError(f"--root {directory}: choose a directory without quotes, backslashes and braces")
        self._directory = directory
        self.replaced: set[str] = set()

    def local(self, value: Any) -> Any:
        """A job, or a part of one, with `<directory>/BUCKET` in the place of every `gs://BUCKET`."""
        if isinstance(value, dict):
            return {key: self.local(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.local(inner) for inner in value]
        return _BUCKET.sub(self._local_bucket, value) if isinstance(value, str) else value

    def directory_of(self, bucket: str) -> Path:
        """Stands for `gs://bucket`."""
        return self._directory / bucket

    def _local_bucket(self, match: re.Match[str]) -> str:
        self.replaced.add(match[1])
        return str(self.directory_of(match[1]))


def input_directories(tasks: Iterable[Task]) -> set[Path]:
    """From where file-based ExampleGens read, as the tasks that have a driver say."""
    values = [
        task.spec.inputs.parameters[_INPUT_BASE].runtime_value
        for task in tasks
        if task.executor.container.HasField("lifecycle") and _INPUT_BASE in task.spec.inputs.parameters
    ]
    return {Path(value.constant_value.string_value or value.constant.string_value) for value in values}


def link_data(tasks: Iterable[Task], data: Path | None) -> Path:
    """Makes the raw files appear where the pipeline reads them.

    Args:
        tasks: With directories in the place of buckets.
        data: Directory of the raw files; None if they lie there already.

    Returns:
        Where the pipeline reads.

    Raises:
        ConfigError: There is nothing to read, or something else in its place.
    """
    directories = sorted(input_directories(tasks))
    if len(directories) != 1:
        raise ConfigError(
            f"the compiled pipeline reads raw files from {len(directories)} directories "
            f"({', '.join(map(str, directories)) or 'none'}); a rehearsal provides one"
        )
    (target,) = directories
    if data is None:
        if not target.is_dir():
            raise ConfigError(f"no raw files: name their directory with --data-dir, or put them into {target}")
        return target
    if not data.is_dir():
        raise ConfigError(f"--data-dir {data}: no such directory; expected the one of the raw files")
    if target.exists() and not target.is_symlink() and not target.samefile(data):
        raise ConfigError(
            f"--data-dir {data}: {target} holds files already; remove it, or leave --data-dir out to use them"
        )
    if not target.exists() or target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        link = target.with_name(f".{target.name}.new")
        link.unlink(missing_ok=True)
        link.symlink_to(data.absolute(), target_is_directory=True)
        os.replace(link, target)
    return target
