"""Finds pushed versions and what is known of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from pydantic import ValidationError

from components.example_gen.bigquery.layout import DIRECTORY, QUERY_RESULTS
from components.example_gen.config import QUERIES_ALONE, DataConfig
from components.pusher.layout import SUMMARY_FILE_NAME
from components.pusher.publish import latest_version
from pipeline.roots import reads_as_pattern, usable_root
from trainer_module.data.paths import is_remote
from trainer_module.errors import ConfigError, DataError, ModelError
from trainer_module.frozen import reasons

_WHERE = "Versions lie in runs/serving/NAME/NUMBER"


def last_pushed(root: Path, retrieval: bool = False) -> Path:
    """The version that was pushed last, by any pipeline below `root`.

    Args:
        root: Directory of runs.
        retrieval: Whether a retrieval model is wanted, or one that ranks.

    Raises:
        ModelError: There is none.
    """
    if root.is_dir() and reads_as_pattern(root.absolute()):
        root = usable_root(root)
    versions = [version for name in (root / "serving").glob("*") if (version := latest_version(name))]
    of_kind = [v for v in versions if (data_config(read_summary(v)).described().task == "retrieval") == retrieval]
    if not of_kind:
        kind, command = ("retrieval", " --config movielens-100k-two-tower") if retrieval else ("ranking", "")
        raise ModelError(f"no pushed {kind} model below {root / 'serving'}; `recspan pipeline run{command}` makes one")
    return max(of_kind, key=lambda version: (version / SUMMARY_FILE_NAME).stat().st_mtime_ns)


def read_summary(model_dir: Path, needed: Sequence[str] = ("config", "data_dir")) -> dict[str, Any]:
    """The summary of the run that pushed a version.

    Args:
        model_dir: A pushed version.
        needed: Keys that it must have.

    Raises:
        ModelError: The directory holds no pushed version.
    """
    path = model_dir / SUMMARY_FILE_NAME
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(
            f"{model_dir} is no pushed version: its {SUMMARY_FILE_NAME} cannot be read ({reason}). {_WHERE}"
        ) from None
    if not isinstance(summary, dict) or not all(key in summary for key in needed):
        raise ModelError(
            f"{model_dir} is no pushed version: its {SUMMARY_FILE_NAME} was not written by recspan. {_WHERE}"
        )
    return summary


def load_model(model_dir: Path, signature: str) -> Any:
    """Loads a pushed model and checks that it answers.

    Args:
        model_dir: A pushed version.
        signature: That will be asked.

    Raises:
        ModelError: The SavedModel is missing, damaged or of another kind; names the version.
    """
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(model_dir))
        signatures = set(model.signatures)
    except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError, DecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{model_dir}: the SavedModel is damaged or missing ({reason}). Name another version with --model, or push "
            "it again with `recspan pipeline run`"
        ) from error
    if signature not in signatures:
        found = ", ".join(sorted(signatures)) or "none"
        raise ModelError(f"{model_dir}: the SavedModel has no signature {signature}; it has {found}. {_WHERE}")
    return model


def data_config(summary: Mapping[str, Any]) -> DataConfig:
    """The section `data` of a pushed version, with paths relative to the directory of its files.

    Tables that were queries read the rows that ingestion fetched, so that no query runs again.

    Raises:
        ModelError: Another version of recspan wrote it, with keys that this one does not know.
    """
    try:
        config = DataConfig.model_validate(summary["config"]["data"])
        return config.with_results(summary["examples"][QUERY_RESULTS]["examples"]) if config.queries else config
    except (KeyError, TypeError):
        raise ModelError(
            f"the {SUMMARY_FILE_NAME} holds no section config.data, or not where its queries' rows are. {_WHERE}"
        ) from None
    except ValidationError as error:
        raise ModelError(
            f"the pushed version's section data cannot be read: {reasons(error)}. Push it again with this version of "
            "recspan: `recspan pipeline run`"
        ) from None


def raw_directory(summary: Mapping[str, Any], data_dir: Path | None) -> str:
    """Where the raw files lie: in `data_dir`, or where the model's data came from.

    Raises:
        ConfigError: `data_dir` is given, and no table has files.
        DataError: They are not there, or the rows that queries returned are not.
    """
    rows = summary.get("examples", {}).get(QUERY_RESULTS, {}).get("examples")
    if rows and not is_remote(rows) and not Path(rows, DIRECTORY).is_dir():
        raise DataError(
            f"{rows} is gone, and with it the rows of the model's queries; run the pipeline once more to fetch them"
        )
    if data_dir and summary["data_dir"].startswith(QUERIES_ALONE):
        raise ConfigError("--data-dir: all tables of the model are queries; leave it out")
    directory = str(data_dir or summary["data_dir"])
    if "://" not in directory and not Path(directory).is_dir():
        problem = "is no directory" if Path(directory).exists() else "is not there"
        raise DataError(f"{directory} {problem}; name the directory of the raw files with --data-dir")
    return directory
