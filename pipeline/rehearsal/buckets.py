"""Replaces buckets by local directories."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.example_gen.config import NO_FILES
from pipeline.rehearsal.executor_input import constant
from pipeline.rehearsal.spec import Task
from trainer_module.errors import ConfigError

_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]*)")
_INPUT_BASE = "input_base"


class Buckets:
    """Local directories that replace the buckets of a job."""

    def __init__(self, directory: Path):
        """Stores the directory of all buckets.

        Raises:
            ConfigError: The directory's name contains characters that would break the JSON around the URIs.
        """
        if re.search(r'["\\\x00-\x1f{}]', str(directory)):
            raise ConfigError(f"--root {directory}: choose a directory without quotes, backslashes and braces")
        self._directory = directory
        self.replaced: set[str] = set()

    def local(self, value: Any) -> Any:
        """Returns a job, or a part of one, with `<directory>/BUCKET` instead of every `gs://BUCKET`."""
        if isinstance(value, dict):
            return {key: self.local(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.local(inner) for inner in value]
        return _BUCKET.sub(self._local_bucket, value) if isinstance(value, str) else value

    def directory_of(self, bucket: str) -> Path:
        """Returns the directory that replaces `gs://bucket`."""
        return self._directory / bucket

    def _local_bucket(self, match: re.Match[str]) -> str:
        self.replaced.add(match[1])
        return str(self.directory_of(match[1]))


def link_data(tasks: Iterable[Task], data: Path | None) -> Path | None:
    """Links the raw files to the directory from which the pipeline reads them.

    Args:
        tasks: Tasks with directories instead of buckets.
        data: Directory of the raw files; None if they are in the right place already.

    Returns:
        The directory from which the pipeline reads; None if all tables are queries.

    Raises:
        ConfigError: The raw files are missing, or the directory already holds other files.
    """
    bases = _input_bases(tasks)
    if bases == {NO_FILES}:
        if data is not None:
            raise ConfigError("--data-dir: all tables of the pipeline are queries; leave it out")
        return None
    directories = sorted(map(Path, bases))
    if len(directories) != 1:
        raise ConfigError(
            f"the compiled pipeline reads raw files from {len(directories)} directories "
            f"({', '.join(map(str, directories)) or 'none'}), and a rehearsal provides exactly one"
        )
    (target,) = directories
    if data is None:
        if not target.is_dir():
            raise ConfigError(
                f"the raw files are missing; name their directory with --data-dir, or copy them to {target}"
            )
        return target
    if not data.is_dir():
        raise ConfigError(f"--data-dir {data}: no such directory; expected the directory of the raw files")
    if target.exists() and not target.is_symlink() and not target.samefile(data):
        raise ConfigError(
            f"--data-dir {data}: {target} already holds files; remove that directory, or omit --data-dir to use them"
        )
    if not target.exists() or target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        link = target.with_name(f".{target.name}.new")
        link.unlink(missing_ok=True)
        link.symlink_to(data.absolute(), target_is_directory=True)
        os.replace(link, target)
    return target


def _input_bases(tasks: Iterable[Task]) -> set[str]:
    """Returns the directories from which file-based ExampleGens read. Only their tasks have a driver."""
    return {
        constant(task, _INPUT_BASE).string_value
        for task in tasks
        if task.executor.container.HasField("lifecycle") and _INPUT_BASE in task.spec.inputs.parameters
    }
