"""The pushed versions below a root: which there are, and how to go back to an earlier one."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.pusher.layout import SUMMARY_FILE_NAME
from components.pusher.publish import publish, versions_of
from components.retrieval_index.layout import VERTEX_FILE
from pipeline.ask.versions import read_summary
from trainer_module.errors import ConfigError, ModelError
from trainer_module.suggestions import did_you_mean

if TYPE_CHECKING:
    from components.retrieval_index.vertex_delta import ItemFile

COPY_OF = "copy_of"
"""Key of a version's summary that names the earlier version whose files it has."""


@dataclass(frozen=True)
class PushedVersion:
    """One version of a pushed model.

    Attributes:
        name: Of the model: the directory below `ROOT/serving`.
        version: Its number.
        pushed_at: When it appeared.
        model: Type of the model, such as `dlrm`.
        metrics: Values by name that the model was compared with baselines on, over the whole test split.
        copy_of: The version that it is a copy of, after a rollback; else None.
        is_served: Whether it is the newest one, which servers take.
    """

    name: str
    version: int
    pushed_at: datetime
    model: str
    metrics: dict[str, float]
    copy_of: int | None
    is_served: bool


def pushed_versions(root: Path) -> Iterator[PushedVersion]:
    """All versions below a root, by name and number.

    Raises:
        ModelError: A version's summary is missing or damaged.
    """
    for base in sorted((root / "serving").glob("*")):
        numbers = versions_of(base)
        for number in numbers:
            summary = read_summary(base / str(number), needed=("config",))
            yield PushedVersion(
                name=base.name,
                version=number,
                pushed_at=datetime.fromtimestamp((base / str(number) / SUMMARY_FILE_NAME).stat().st_mtime, UTC),
                model=_kind(summary),
                metrics={each["metric"]: each["value"] for each in summary.get("evaluation", {}).get("baselines", [])},
                copy_of=summary.get(COPY_OF),
                is_served=number == numbers[-1],
            )


def items_of(root: Path, name: str, version: int | None) -> "ItemFile":
    """The items of a pushed retrieval model.

    Args:
        root: Directory of runs.
        name: Of the model.
        version: Its number; None takes the newest one.

    Raises:
        ConfigError: There is no such model or version.
        ModelError: The version holds no items for Vertex AI Vector Search, or its summary is missing or damaged.
    """
    base, numbers = _known_versions(root, name)
    directory = base / str(numbers[-1] if version is None else _checked(version, name, numbers))
    file = directory / VERTEX_FILE
    if not file.is_file():
        raise ModelError(f"{directory} holds no {VERTEX_FILE}; name a pushed retrieval model")
    # Imports TensorFlow, which a refusal need not wait for.
    from components.retrieval_index.vertex_delta import ItemFile

    export = read_summary(directory, needed=("config",))["config"].get("export") or {}
    return ItemFile(file, is_int8=bool(export.get("quantize")))


def roll_back(root: Path, name: str, version: int) -> Path:
    """Publishes the files of an earlier version under the next number, which servers then take.

    Servers load the largest number, so taking the newest version away would leave them without a model while they load
    another, and would lose what was served. Nothing is removed.

    Args:
        root: Directory of runs.
        name: Of the model.
        version: The version to go back to.

    Returns:
        The directory of the new version.

    Raises:
        ConfigError: There is no such model or version, or it is the newest already.
        ModelError: The version's summary is missing or damaged.
    """
    base, numbers = _known_versions(root, name)
    if _checked(version, name, numbers) == numbers[-1]:
        raise ConfigError(f"version {version} of {name} is the newest already, so servers take it")
    summary = read_summary(base / str(version), needed=("config",))
    return publish(str(base / str(version)), str(base), {SUMMARY_FILE_NAME: _marked(summary, version)})


def _known_versions(root: Path, name: str) -> tuple[Path, list[int]]:
    """Directory and versions of a model."""
    known = sorted(each.name for each in (root / "serving").glob("*") if versions_of(each))
    if name not in known:
        where = f"{did_you_mean(name, known)}Known: {', '.join(known)}" if known else "Nothing has been pushed yet"
        raise ConfigError(f"{root / 'serving'} holds no pushed model {name!r}. {where}")
    base = root / "serving" / name
    return base, versions_of(base)


def _checked(version: int, name: str, numbers: Sequence[int]) -> int:
    if version not in numbers:
        raise ConfigError(f"{name} has no version {version}; there are {', '.join(map(str, numbers))}")
    return version


def _marked(summary: dict[str, Any], version: int) -> bytes:
    """The summary of the copy, without the identity of the push that made the original."""
    kept = {key: value for key, value in summary.items() if key != "push"}
    return json.dumps(kept | {COPY_OF: version}, indent=2).encode()


def _kind(summary: dict[str, Any]) -> str:
    if "two_stage" in summary:
        return "two stages"
    try:
        return summary["config"]["model"]["type"]
    except (KeyError, TypeError):
        raise ModelError(
            "the summary of a pushed version names no model; push it again with `recspan pipeline run`"
        ) from None
