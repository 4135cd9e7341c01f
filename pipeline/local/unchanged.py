"""Answers a run from the summary of the last one, if nothing has changed since.

TFX comes to the same answer component by component, but only after TensorFlow, Beam and TFX are imported, which takes
most of the time of such a run. Whatever could change the answer is compared here: settings, code, raw files,
queried tables, the metadata store, and every file that the components have written. If one thing differs, TFX decides.
"""

import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from components.example_gen.bigquery.tables_state import tables_state
from components.example_gen.spans import wildcards
from components.pusher.layout import SUMMARY_FILE_NAME
from pipeline.config import Locations, PipelineConfig
from pipeline.local.file_lists import FileList
from trainer_module.data.paths import is_remote, literal
from trainer_module.training.config import LAST_BLESSED

_PRODUCT = Path(__file__).parents[2]
_PACKAGES = ("trainer_module", "components", "pipeline", "schema")
_RECORD = "last_run.json"


def remember(config: PipelineConfig, locations: Locations, run_dir: Path, begun: str) -> None:
    """Records a run that has just ended, so that the next one can be answered from its summary.

    Args:
        config: The experiment.
        locations: Where it read and wrote.
        run_dir: Directory of the run's summary.
        begun: The `read_state` before the run. What was changed while it ran may not be what it read.
    """
    # A training that starts from the last blessed model has another one to start from once it is blessed itself.
    if config.training.warm_start == LAST_BLESSED or not _is_local(config, locations):
        return
    if read_state(config, locations) != begun:
        return
    record, summary = _record(config, locations), run_dir / SUMMARY_FILE_NAME
    watched = [str(summary)]
    if pushed_to := json.loads(summary.read_text(encoding="utf-8")).get("pushed_to"):
        watched.append(os.path.join(pushed_to, SUMMARY_FILE_NAME))
    content = {"read": begun, "written": _written_state(locations, watched), "summaries": watched}
    handle, name = tempfile.mkstemp(dir=record.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(name, record)


def answer(config: PipelineConfig, locations: Locations) -> dict[str, Any] | None:
    """The summary of the last run; None if anything has changed since, or if nothing was recorded.

    Args:
        config: The experiment.
        locations: Where it reads and writes.
    """
    if not config.cache:
        return None
    try:
        content = json.loads(_record(config, locations).read_text(encoding="utf-8"))
        summaries = content["summaries"]
        if content["read"] != read_state(config, locations):
            return None
        if content["written"] != _written_state(locations, summaries):
            return None
        if any(each.damage() for each in _lists_of_outputs(config, locations)):
            return None
        return json.loads(Path(summaries[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        # What cannot be read is no answer: the components look for themselves.
        return None


def read_state(config: PipelineConfig, locations: Locations) -> str:
    """A digest of what a run reads: settings, code, and what tells whether raw files and queried tables were changed.

    Args:
        config: The experiment.
        locations: Where it reads and writes.

    Raises:
        ServiceError: A query reads tables without `@as_of`, and BigQuery refused to tell about them.
        SetupError: The same, and the credentials are missing or not accepted.
    """
    digest = hashlib.sha256()
    for part in (config.model_dump_json(), locations.data, str(locations.root), tables_state(config.data)):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    for path in _product_files():
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    schema_file = config.dataset.schema_file
    for file in (*_raw_files(config, locations), *([schema_file] if os.path.isabs(schema_file) else [])):
        digest.update(_identity(file))
    return digest.hexdigest()


def _written_state(locations: Locations, summaries: Iterable[str]) -> str:
    """A digest of what tells whether the metadata store and summaries were written to."""
    digest = hashlib.sha256()
    for file in (str(locations.metadata), *summaries):
        digest.update(_identity(file))
    return digest.hexdigest()


def _record(config: PipelineConfig, locations: Locations) -> Path:
    return locations.artifacts(config.pipeline_name) / ".files" / _RECORD


def _is_local(config: PipelineConfig, locations: Locations) -> bool:
    is_near = not config.data.reads_files or not is_remote(locations.data)
    return is_near and not any(map(is_remote, _patterns(config)))


def _patterns(config: PipelineConfig) -> list[str]:
    return [pattern for _, table in config.data.described().tables.named() for pattern in table.files]


def _product_files() -> list[Path]:
    found = (path for name in _PACKAGES for path in (_PRODUCT / name).rglob("*") if "__pycache__" not in path.parts)
    return sorted(path for path in found if path.is_file())


def _raw_files(config: PipelineConfig, locations: Locations) -> list[str]:
    """Everything that the tables' patterns, which are relative to the data's directory, match."""
    found = set()
    for pattern in map(wildcards, _patterns(config.without_local_paths())):
        found.add(literal(pattern))
        found.update(glob.glob(pattern, root_dir=locations.data, include_hidden=True))
    return sorted(path for name in found if os.path.lexists(path := os.path.join(locations.data, name)))


def _identity(path: str) -> bytes:
    """Differs once a file was written to, replaced, touched or removed."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return f"{path}\0".encode("utf-8", "surrogateescape")
    return f"{path}\0{found.st_ino}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\0".encode(
        "utf-8", "surrogateescape"
    )


def _lists_of_outputs(config: PipelineConfig, locations: Locations) -> Iterator[FileList]:
    """What components have written, as `pipeline.local.answers` lists it."""
    for path in _record(config, locations).parent.glob("[0-9]*.json"):
        yield from map(FileList.from_json, path.read_text(encoding="utf-8").splitlines())
