"""Executions of runs that were killed: the metadata store still says that they are running."""

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from trainer_module.errors import DataError

_UNFINISHED = (metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING)

_log = logging.getLogger(__name__)


def fail_killed_executions(metadata: Path, artifacts: Path) -> int:
    """Marks every unfinished execution as failed and removes its half-written outputs. No run may be under way.

    Args:
        metadata: The metadata store's file.
        artifacts: Holds `PIPELINE/COMPONENT/OUTPUT/EXECUTION`.

    Returns:
        Number of such executions.

    Raises:
        DataError: The metadata store is damaged.
    """
    if not metadata.exists():
        return 0
    _check(metadata)
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(metadata)))
    killed = [each for each in store.get_executions() if each.last_known_state in _UNFINISHED]
    for execution in killed:
        execution.last_known_state = metadata_store_pb2.Execution.FAILED
        for output in artifacts.glob(f"*/*/*/{execution.id}"):
            shutil.rmtree(output)
    if killed:
        store.put_executions(killed)
        _log.info("%d execution(s) of a killed run are marked as failed", len(killed))
    return len(killed)


def _check(metadata: Path) -> None:
    """Reads every page of the store, also those that this run would come to hours later."""
    try:
        with closing(sqlite3.connect(metadata)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise DataError(
            f"{metadata}: the metadata store cannot be read ({found}). Move the file away: the next run begins with an "
            "empty cache, and what was pushed stays where it is"
        )
