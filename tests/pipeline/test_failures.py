import errno
import os
import re
import sqlite3
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from pipeline import cli
from pipeline.failures import describe, write_traceback
from trainer_module.errors import DataError, Preempted


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The exception, raised from another one."""
    try:
        raise error from cause
    except type(error) as found:
        return found


def damaged_database(tmp_path) -> sqlite3.DatabaseError:
    (tmp_path / "metadata.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError) as found:
        sqlite3.connect(tmp_path / "metadata.sqlite").execute("select 1 from x")
    return found.value


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "x", "/a/b"), "/a/b: no space left on device; free some space"),
        (PermissionError(errno.EACCES, "x", "/a/b"), "/a/b: permission denied; change its permissions"),
        (OSError(errno.EROFS, "x", b"/a/b"), "/a/b: read-only file system; name a directory that may be written to"),
        (NotADirectoryError(errno.ENOTDIR, "x", "/a/b"), "/a/b: not a directory; a file lies where"),
        (OSError(errno.ENAMETOOLONG, "x", "/" + "n" * 5000), "/nnn"),
        (
            tf.errors.ResourceExhaustedError(None, None, "/a/b; No space left on device"),
            "/a/b: no space left on device; free some space",
        ),
        (
            RuntimeError("OSError: [Errno 28] No space left on device: '/a/b' [while running 'Write']"),
            "/a/b: no space left on device; free some space",
        ),
        (MemoryError(), "out of memory"),
        (RecursionError("maximum recursion depth exceeded"), "the input is nested too deeply"),
        (ValueError("embedded null byte"), "a path holds a NUL byte"),
        (KeyError("x"), "'x' (KeyError). This is a fault of recspan"),
    ],
)
def test_an_exception_becomes_a_sentence_that_begins_with_the_cause(error, sentence):
    message = describe(raised(error))
    assert message.startswith(sentence)
    assert "\n" not in message and len(message) < 600


def test_the_products_own_message_counts_wherever_it_is_in_the_chain():
    own = raised(DataError("a.csv, line 3: no label"))
    assert describe(raised(RuntimeError("a step failed"), raised(ValueError("x"), own))) == "a.csv, line 3: no label"


def test_the_error_behind_a_wrapper_is_described_not_the_wrapper():
    full = raised(OSError(errno.ENOSPC, "x", "/a/b"))
    assert describe(raised(RuntimeError("Execution 3 failed"), full)).startswith("/a/b: no space left")


def test_a_damaged_metadata_store_is_named(tmp_path):
    assert describe(damaged_database(tmp_path)).startswith("metadata.sqlite below --root: it is no metadata store")


def test_the_traceback_goes_to_the_first_directory_that_can_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    log = write_traceback(raised(KeyError("x\ud800")), [tmp_path / "file", tmp_path / "logs"])
    assert log is not None and log.parent == tmp_path / "logs"
    assert "Traceback (most recent call last)" in log.read_text()
    assert write_traceback(KeyError(), [tmp_path / "file"]) is None


def fail_with(monkeypatch, capsys, tmp_path, error: Exception) -> tuple[int, str]:
    """Exit code and message of a command that ends with an exception."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return cli._fail(error), capsys.readouterr().err


def test_the_command_line_prints_a_message_and_names_the_log_of_the_traceback(monkeypatch, capsys, tmp_path):
    code, message = fail_with(monkeypatch, capsys, tmp_path, ZeroDivisionError("by [red]zero"))
    assert code == 1
    assert message.startswith("error: by [red]zero (ZeroDivisionError)") and "Traceback" not in message
    (log,) = re.findall(r"\(log: (.*)\)", message)
    assert os.path.dirname(log) == str(tmp_path / "recspan")
    assert "ZeroDivisionError" in Path(log).read_text()


def test_an_error_with_a_message_of_its_own_needs_no_log(monkeypatch, capsys, tmp_path):
    assert fail_with(monkeypatch, capsys, tmp_path, DataError("a.csv: no row")) == (1, "error: a.csv: no row\n")
    assert fail_with(monkeypatch, capsys, tmp_path, Preempted("saved"))[0] == 75
    assert not list(tmp_path.iterdir())


def test_the_outermost_message_counts_which_names_component_and_log(monkeypatch, capsys, tmp_path):
    error = raised(DataError("ExampleGen failed: a.csv: no row\n(log: x)"), DataError("a.csv: no row"))
    assert fail_with(monkeypatch, capsys, tmp_path, error)[1] == "error: ExampleGen failed: a.csv: no row\n(log: x)\n"


def test_a_message_with_half_a_surrogate_pair_is_printed(monkeypatch, capfd):
    with open(os.dup(2), "w", encoding="ascii", errors="backslashreplace") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        cli._fail(DataError("caf\xe9 \ud800: no such file"))
    assert "error: caf\\xe9 \\ud800: no such file" in capfd.readouterr().err
