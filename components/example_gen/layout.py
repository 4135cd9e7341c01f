"""The files of a known dataset's directory, and the manifest that guards them.

The constants describe the layout of MovieLens 100K, which is GroupLens' own, so that line numbers in errors and in the
official folds u1 to u5 are those of the file on disk:

- `u.data`: user, item, rating, Unix time; tab separated, no header.
- `u.user`: user, age, gender, occupation, zip code; separated by `|`.
- `u.item`: item, title, release date, video release date, URL, 19 genre flags; separated by `|`, in ISO 8859-1.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_module.errors import DataError

RATINGS_FILE = "u.data"
USERS_FILE = "u.user"
ITEMS_FILE = "u.item"
FILES = (RATINGS_FILE, USERS_FILE, ITEMS_FILE)
MANIFEST_FILE = "manifest.json"

USER_ENCODING = "utf-8"
ITEM_ENCODING = "iso-8859-1"

OCCUPATIONS = (
    "administrator", "artist", "doctor", "educator", "engineer", "entertainment", "executive", "healthcare",
    "homemaker", "lawyer", "librarian", "marketing", "none", "other", "programmer", "retired", "salesman",
    "scientist", "student", "technician", "writer",
)  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """Where the files of a dataset directory came from.

    Attributes:
        dataset: Name of the dataset.
        source: Which source they were taken from, in words.
        sha256: Hex digest of each file.
        details: What else the source knows about its data; JSON-able.
    """

    dataset: str
    source: str
    sha256: Mapping[str, str]
    details: Mapping[str, Any]


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(data_dir: Path) -> Manifest | None:
    """Reads the manifest of `data_dir`, or None when there is none.

    Raises:
        DataError: It is damaged.
    """
    path = data_dir / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        return Manifest(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: the manifest is damaged ({error}); remove {data_dir} and fetch the data again") from (
            error
        )


def verify(data_dir: Path, manifest: Manifest) -> None:
    """Compares the files with the manifest.

    Raises:
        DataError: A file is gone or differs from what was put there.
    """
    for name, expected in manifest.sha256.items():
        path = data_dir / name
        if not path.exists():
            raise DataError(f"{path} is gone, though {MANIFEST_FILE} lists it; remove {data_dir} and run again")
        if (actual := sha256_of(path)) != expected:
            raise DataError(
                f"{path} changed since it was put there: its sha256 is {actual[:12]}..., {MANIFEST_FILE} says "
                f"{expected[:12]}.... Remove {data_dir} and run again, or, if the change is yours and wanted, remove "
                f"{MANIFEST_FILE} alone."
            )


def require_replaceable(data_dir: Path, dataset: str, files: Sequence[str] = FILES) -> None:
    """Checks that nothing of value is overwritten.

    Args:
        data_dir: Where the files will go.
        dataset: That they make up.
        files: Their names.

    Raises:
        DataError: `data_dir` holds files that the product did not put there, or another dataset.
    """
    manifest = read_manifest(data_dir)
    if manifest is None and (found := [name for name in files if (data_dir / name).exists()]):
        raise DataError(
            f"{data_dir} holds {', '.join(found)} but no {MANIFEST_FILE}, so the files are yours or from an "
            "interrupted run. Move them away, name another directory, or, to take them over, run `recspan data fetch "
            f"{dataset} --source {data_dir}`."
        )
    if manifest is not None and manifest.dataset != dataset:
        raise DataError(f"{data_dir} holds the dataset {manifest.dataset!r}; name another directory for {dataset!r}")


def publish(staged: Path, data_dir: Path, dataset: str, source: str, details: Mapping[str, Any]) -> Manifest:
    """Moves complete files into `data_dir`, the manifest last, so that an interruption leaves no half-written data.

    Args:
        staged: Directory on the same file system as `data_dir` that holds the files and nothing else; it is used up.
        data_dir: Where they go.
        dataset: See `Manifest`.
        source: See `Manifest`.
        details: See `Manifest`.

    Returns:
        The manifest that was written.
    """
    files = sorted(path.name for path in staged.iterdir())
    manifest = Manifest(dataset, source, {name: sha256_of(staged / name) for name in files}, dict(details))
    text = json.dumps(vars(manifest), indent=2, sort_keys=True, ensure_ascii=False)
    (staged / MANIFEST_FILE).write_text(text + "\n")
    if not data_dir.exists():
        os.rename(staged, data_dir)
        return manifest
    (data_dir / MANIFEST_FILE).unlink(missing_ok=True)
    for name in (*files, MANIFEST_FILE):
        os.replace(staged / name, data_dir / name)
    shutil.rmtree(staged)
    return manifest
