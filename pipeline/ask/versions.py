"""Finds pushed versions and what is known of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.example_gen.config import DataConfig
from components.pusher.layout import SUMMARY_FILE_NAME
from components.pusher.publish import latest_version
from trainer_module.errors import DataError, ModelError


def last_pushed(root: Path, retrieval: bool = False) -> Path:
    """The version that was pushed last, by any pipeline below `root`.

    Args:
        root: Directory of runs.
        retrieval: Whether a retrieval model is wanted, or one that ranks.

    Raises:
        ModelError: There is none.
    """
    versions = [version for name in (root / "serving").glob("*") if (version := latest_version(name))]
    of_kind = [v for v in versions if (data_config(read_summary(v)).described().task == "retrieval") == retrieval]
    if not of_kind:
        kind, command = ("retrieval", " --config movielens-100k-two-tower") if retrieval else ("ranking", "")
        raise ModelError(f"no pushed {kind} model below {root / 'serving'}; `recspan pipeline run{command}` makes one")
    return max(of_kind, key=lambda version: (version / SUMMARY_FILE_NAME).stat().st_mtime_ns)


def read_summary(model_dir: Path) -> dict[str, Any]:
    """The summary of the run that pushed a version.

    Raises:
        ModelError: The directory holds no pushed version.
    """
    path = model_dir / SUMMARY_FILE_NAME
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{model_dir} is no pushed version: its {SUMMARY_FILE_NAME} cannot be read ({error}). Versions lie in "
            "runs/serving/NAME/NUMBER"
        ) from None


def data_config(summary: Mapping[str, Any]) -> DataConfig:
    """The section `data` of a pushed version, with paths relative to the directory of its files."""
    return DataConfig.model_validate(summary["config"]["data"])


def raw_directory(summary: Mapping[str, Any], data_dir: Path | None) -> str:
    """Where the raw files lie: in `data_dir`, or where the model's data came from.

    Raises:
        DataError: They are not there.
    """
    directory = str(data_dir or summary["data_dir"])
    if "://" not in directory and not Path(directory).is_dir():
        raise DataError(f"{directory} is not there; name the directory of the raw files with --data-dir")
    return directory
