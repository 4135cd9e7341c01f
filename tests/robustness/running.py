"""Reads and checks malformed inputs in this process, and compares the end with what is expected."""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from components.example_gen.config import DataConfig
from components.example_gen.conversion import USER_TOKEN, convert_interactions, interaction_columns
from components.example_gen.output.bad_rows import BadRow as FoundBadRow
from components.example_gen.readers.blocks import check_columns, find_files, find_pieces, read
from components.example_gen.readers.time_units import unit_of
from pipeline import cli
from pipeline.config import load_config
from tests.robustness.cases import AnyOf, BadRow, DataCase, Expected, ExperimentCase, Refused
from trainer_module.errors import RecspanError

# CPU time of one small input, at most.
MOST_SECONDS = 5.0
_LONGEST_MESSAGE = 4000
# Begins messages that no input may lead to.
_FAULT = "This is a fault of recspan"


@dataclass(frozen=True)
class Failure:
    """An input that did not end as it must.

    Attributes:
        case: The input.
        problem: What is wrong with its end.
    """

    case: DataCase | ExperimentCase
    problem: str


def run_all(cases: Sequence[DataCase | ExperimentCase], scratch: Path) -> list[Failure]:
    """Runs cases one after another.

    Args:
        cases: The cases.
        scratch: A directory; each case gets an empty one below it.
    """
    failures = []
    for case in cases:
        with tempfile.TemporaryDirectory(dir=scratch) as directory:
            # Other processes of a busy machine do not count.
            started = time.process_time()
            run = run_data_case if isinstance(case, DataCase) else run_experiment_case
            problem = run(case, Path(directory))
            seconds = time.process_time() - started
        if problem is None and seconds > MOST_SECONDS:
            problem = f"took {seconds:.1f} s"
        if problem is not None:
            failures.append(Failure(case, problem))
    return failures


def run_data_case(case: DataCase, directory: Path) -> str | None:
    """Writes a case's files and reads them as ingestion does.

    Args:
        case: The case.
        directory: An empty directory.

    Returns:
        What is wrong with the outcome; None if it is the expected one.
    """
    for name, content in case.files.items():
        if content is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_bytes(content)
    for name, target in case.links.items():
        (directory / name).symlink_to(target)
    try:
        batches, bad = _ingest(directory, case)
    except (RecspanError, ValueError) as error:
        # A `ValueError` is what the validators of a configuration raise.
        if isinstance(error, ValueError) and type(error).__name__ != "ValidationError":
            return f"unexpected {type(error).__name__}: {error}"
        return _compare(case.expected, str(error), [], 0, [])
    except Exception as error:
        return f"unexpected {type(error).__name__}: {error}"
    users = [token.decode() for batch in batches for token in batch.column(USER_TOKEN).to_pylist()]
    return _compare(case.expected, None, bad, sum(batch.num_rows for batch in batches), users)


def run_experiment_case(case: ExperimentCase, directory: Path) -> str | None:
    """Reads an experiment file, or runs a command, and says what is wrong with its end; None if nothing is."""
    if isinstance(case.text, tuple):
        message = _run_command(case.text, directory)
    else:
        file = directory / "experiment.yaml"
        file.write_bytes(case.text)
        try:
            load_config(file)
            message = None
        except RecspanError as error:
            message = str(error)
        except Exception as error:
            return f"unexpected {type(error).__name__}: {error}"
    if case.words is None:
        return message and f"refused: {message}"
    return "accepted" if message is None else _lacks(message, case.words)


def _ingest(directory: Path, case: DataCase) -> tuple[list[pa.RecordBatch], list[FoundBadRow]]:
    table = {"user": "user", "item": "item", "label": "clicked", "numeric": ["price"]} | dict(case.table)
    config = DataConfig.model_validate(
        {"interactions": table | {"files": os.path.join(directory, case.name)}, "task": "click"}
    )
    dataset = config.described()
    described = dataset.tables.interactions
    wanted = interaction_columns(dataset, config.split_column)
    files = find_files(config.directory, described, "interactions")
    check_columns(files, described, wanted, "data.interactions")
    batches, bad = [], []
    pieces = find_pieces(files, described)
    time_unit = unit_of(described, pieces)
    for piece in pieces:
        for raw, unread in read(piece, described, wanted):
            batch, unfit = convert_interactions(raw, dataset, config.split, config.split_column, {}, time_unit)
            batches.append(batch)
            bad += [*unread, *unfit]
    return batches, bad


def _run_command(arguments: Sequence[str], directory: Path) -> str | None:
    """The message of a command that fails; None if it does not."""
    written = io.StringIO()
    code: object = 0
    argv, here = sys.argv, os.getcwd()
    sys.argv = ["recspan", *arguments]
    os.chdir(directory)
    try:
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
            # `cli.main` would also change what signals do to this process.
            try:
                cli.app()
            except SystemExit as end:
                code = end.code
            except Exception as error:
                code = cli._fail(error)
    finally:
        sys.argv = argv
        os.chdir(here)
    return written.getvalue() if code else None


def _compare(
    expected: Expected, message: str | None, bad: Sequence[FoundBadRow], rows: int, users: Sequence[str]
) -> str | None:
    if isinstance(expected, AnyOf):
        wrong = [_compare(each, message, bad, rows, users) for each in expected.outcomes]
        return None if None in wrong else " / ".join(filter(None, wrong))
    if isinstance(expected, Refused):
        found = (
            message if message is not None else "; ".join(f"{row.file}, line {row.line}: {row.problem}" for row in bad)
        )
        return _lacks(found, expected.words) if found else f"read: {rows} rows"
    if message is not None:
        return f"refused: {message}"
    if isinstance(expected, BadRow):
        if [row.line for row in bad] != [expected.line]:
            return f"bad rows are {[(row.line, row.problem) for row in bad]}; expected line {expected.line}"
        return _lacks(bad[0].problem, expected.words) or _counts(rows, expected.good_rows)
    if bad:
        return f"bad rows: {[(row.line, row.problem) for row in bad][:2]}"
    if expected.users is not None and list(expected.users) != list(users):
        return f"users are {users[:3]}, expected {expected.users[:3]}"
    return _counts(rows, expected.rows)


def _counts(found: int, expected: int) -> str | None:
    return None if found == expected else f"{found} rows were read, expected {expected}"


def _lacks(message: str, words: Sequence[str | tuple[str, ...]]) -> str | None:
    """What a message lacks to be clear."""
    if "Traceback" in message or _FAULT in message:
        return f"speaks of the code: {message}"
    if len(message) > _LONGEST_MESSAGE:
        return f"a message of {len(message)} characters: {message[:200]}"
    for word in words:
        if not any(each in message for each in (word if isinstance(word, tuple) else (word,))):
            return f"does not name {word!r}: {message[:500]}"
    return None
