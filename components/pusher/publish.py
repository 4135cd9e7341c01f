"""Publishes a directory atomically as a numbered version."""

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from components.pusher.layout import SUMMARY_FILE_NAME


def publish(model_dir: str, base_dir: str, extra_files: Mapping[str, bytes]) -> Path:
    """Copies a SavedModel to `base_dir/VERSION`, which appears complete or not at all.

    TensorFlow Serving watches `base_dir` and loads each new directory with a numeric name immediately. The copy is
    therefore made under another name and renamed when it is complete.

    Args:
        model_dir: A SavedModel.
        base_dir: Created if missing. Must be on a single file system.
        extra_files: Content by path relative to `saved_model.pb`.

    Returns:
        The version's directory. Versions are numbered from 1.
    """
    base = Path(base_dir)
    base.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".incoming-", dir=base))
    try:
        shutil.copytree(model_dir, staging, dirs_exist_ok=True)
        for name, content in extra_files.items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_bytes(content)
        staging.chmod(0o755)  # mkdtemp gives access to the owner only; a model server runs as another user
        return _rename_to_next_version(staging, base)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def latest_version(base_dir: str | Path) -> Path | None:
    """The directory of the newest version below `base_dir`, or None."""
    versions = versions_of(Path(base_dir))
    return Path(base_dir, str(versions[-1])) if versions else None


def finished_push(model_dir: str, base_dir: str, push: str) -> Path | None:
    """The newest version if an earlier run of the same push made it.

    A run that is killed right after its push has no record of it, and the same command pushes again.

    Args:
        model_dir: The model that is pushed.
        base_dir: As for `publish`.
        push: Identifies the push; the summary beside the version holds it as `push`.
    """
    version = latest_version(base_dir)
    if version is None:
        return None
    try:
        earlier = json.loads((version / SUMMARY_FILE_NAME).read_text()).get("push")
    except (OSError, ValueError):
        return None  # not made by this product, or damaged: it is not this push
    return version if earlier == push and _holds(version, Path(model_dir)) else None


def _holds(version: Path, model: Path) -> bool:
    """Whether a version has every file of a model, byte for byte."""
    names = [str(file.relative_to(model)) for file in model.rglob("*") if file.is_file()]
    same, _, _ = filecmp.cmpfiles(model, version, names, shallow=False)
    return len(same) == len(names)


def versions_of(base: Path) -> list[int]:
    """Published versions below `base`, oldest first."""
    return sorted(int(entry.name) for entry in base.glob("*") if entry.name.isdigit() and entry.is_dir())


def _rename_to_next_version(staging: Path, base: Path) -> Path:
    version = max(versions_of(base), default=0) + 1
    while True:
        target = base / str(version)
        try:
            # Fails if another push has taken the number: rename does not replace a non-empty directory.
            os.rename(staging, target)
        except OSError:
            if not target.exists():
                raise
            version += 1
        else:
            return target
