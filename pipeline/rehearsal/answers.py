"""Answers of a rehearsed pipeline's queries, from files."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from components.example_gen.config import DataConfig
from components.example_gen.packed_config import unpack
from pipeline.rehearsal.bigquery import Query, as_bigquery
from pipeline.rehearsal.executor_input import constant
from pipeline.rehearsal.spec import Task
from trainer_module.errors import ConfigError, DataError

# ExampleGen's, whose import takes as long as TensorFlow's.
_EXECUTOR = "components.example_gen.executor.Executor"
_CUSTOM_CONFIG = "custom_config"
_READERS = {".parquet": pq.read_table, ".csv": pyarrow.csv.read_csv, ".jsonl": pyarrow.json.read_json}


@dataclass(frozen=True)
class QueryAnswers:
    """The rows of each table that is a query.

    Attributes:
        files: Where they come from.
        tables: By name of the experiment's table, in BigQuery's types.
    """

    files: tuple[Path, ...]
    tables: dict[str, pa.Table]

    def __call__(self, query: Query) -> pa.Table:
        """Answers a query of ExampleGen, which names the table."""
        return self.tables[query.table]


def find_answers(tasks: Iterable[Task], directory: Path | None) -> QueryAnswers | None:
    """Reads a file for each table that is a query: `interactions.parquet`, `.csv` or `.jsonl`, and so on.

    Args:
        tasks: Tasks of the pipeline.
        directory: Of the files.

    Returns:
        The answers; None if no table is a query.

    Raises:
        ConfigError: A file is missing, or the pipeline has no query to answer.
        DataError: A file cannot be read.
    """
    queried = list(dict.fromkeys(name for task in tasks for name in _queried_tables(task)))
    if not queried:
        if directory is not None:
            raise ConfigError("--answers: no table of the pipeline is a query; leave it out")
        return None
    expected = ", ".join(f"{name}.parquet" for name in queried)
    if directory is None:
        raise ConfigError(
            f"the pipeline runs queries on BigQuery; name the directory of their answers with --answers. It holds "
            f"{expected} (or .csv or .jsonl)"
        )
    files = {name: _file(directory, name) for name in queried}
    return QueryAnswers(tuple(files.values()), {name: _read(file) for name, file in files.items()})


def _queried_tables(task: Task) -> list[str]:
    if task.executor_class != _EXECUTOR:
        return []
    config = DataConfig.model_validate_json(unpack(constant(task, _CUSTOM_CONFIG).string_value))
    return list(config.queries)


def _file(directory: Path, name: str) -> Path:
    found = [file for suffix in _READERS if (file := directory / f"{name}{suffix}").is_file()]
    if len(found) != 1:
        names = " or ".join(f"{name}{suffix}" for suffix in _READERS)
        raise ConfigError(f"--answers {directory}: expected one file {names}, found {len(found)}")
    return found[0]


def _read(file: Path) -> pa.Table:
    try:
        return as_bigquery(_READERS[file.suffix](file))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: cannot be read ({error}); write it again") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
