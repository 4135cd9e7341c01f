"""Publishes a directory atomically as a numbered version."""

import os
import shutil
import tempfile
from pathlib import Path


def publish(model_dir: str, base_dir: str, extra_files: dict[str, str]) -> Path:
    """Copies a SavedModel to `base_dir/VERSION`, which appears complete or not at all.

    TensorFlow Serving watches `base_dir` and loads each new directory with a numeric name immediately. The copy is
    therefore made under another name and renamed when it is complete.

    Args:
        model_dir: A SavedModel.
        base_dir: Created if missing. Must be on a single file system.
        extra_files: Text by file name, written beside `saved_model.pb`.

    Returns:
        The version's directory. Versions are numbered from 1.
    """
    base = Path(base_dir)
    base.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".incoming-", dir=base))
    try:
        shutil.copytree(model_dir, staging, dirs_exist_ok=True)
        for name, text in extra_files.items():
            (staging / name).write_text(text, encoding="utf-8")
        staging.chmod(0o755)  # mkdtemp gives access to the owner only; a model server runs as another user
        return _rename_to_next_version(staging, base)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def latest_version(base_dir: str | Path) -> Path | None:
    """The directory of the newest version below `base_dir`, or None."""
    versions = versions_of(Path(base_dir))
    return Path(base_dir, str(versions[-1])) if versions else None


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
