"""Checks the directories that a command writes to before anything else is done."""

import os
import tempfile
from pathlib import Path

from trainer_module.errors import ConfigError


def require_writable(directory: Path, option: str) -> None:
    """Makes a directory if it is missing, and checks that files can be written to it.

    Args:
        directory: Absolute or relative path.
        option: That names the directory on the command line, such as `--root`.

    Raises:
        ConfigError: The path or one above it is a file, or the directory cannot be made or written to.
    """
    way_out = f"name a directory that may be written to with {option}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"recspan")
            file.flush()
            os.fsync(file.fileno())
    except (FileExistsError, NotADirectoryError):
        blocking = next(path for path in (directory, *directory.parents) if _is_no_directory(path))
        raise ConfigError(f"{option} {directory}: {blocking} is a file, not a directory; {way_out}") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{option} {directory}: cannot be written to ({reason}); {way_out}") from None
    except ValueError:
        raise ConfigError(f"{option} {str(directory)!r}: a path cannot hold a NUL byte; {way_out}") from None


def require_place(directory: Path, option: str) -> None:
    """Checks that a directory can be made, or that files can be put into it.

    Args:
        directory: It may be missing; it is not made.
        option: That names the directory on the command line, such as `--data-dir`.

    Raises:
        ConfigError: The path or one above it is a file, or the directory above it cannot be written to.
    """
    if _is_no_directory(directory):
        raise ConfigError(f"{option} {directory}: a file, not a directory; name a directory with {option}")
    require_writable(directory.parent, option)


def _is_no_directory(path: Path) -> bool:
    try:
        return (path.is_symlink() or path.exists()) and not path.is_dir()
    except OSError:
        # A path that nothing can have, such as one below a file or with too long a name.
        return False
