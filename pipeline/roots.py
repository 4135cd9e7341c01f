"""Checks the directories that a command writes to before anything else is done."""

import hashlib
import os
import tempfile
from pathlib import Path

from trainer_module.errors import ConfigError

# TFX, Beam and TensorFlow find files by patterns that begin with the root.
_WILDCARDS = "*?[]\\"


def usable_root(root: Path) -> Path:
    """An absolute path of a root that no library takes for a pattern.

    A directory whose own path holds wildcards is made, and is reached through a symbolic link in the user's state
    directory, the same one for every command.

    Raises:
        ValueError: It is a URI, or holds a character that no path can.
        ConfigError: The link, or the directory that it leads to, cannot be made.
    """
    if ":/" in str(root):
        raise ValueError(f"--root {root}: a URI, and a directory of this machine is expected")
    path = root.expanduser().absolute()
    if "\0" in str(path):
        raise ValueError(f"--root {str(root)!r}: a path cannot hold a NUL byte; name another directory")
    if all(character.isprintable() and character not in _WILDCARDS for character in str(path)):
        return path
    require_writable(path, "--root")
    return _link_to(path)


def state_directory() -> Path | None:
    """Where the product may keep files of its own: `$XDG_STATE_HOME/recspan`, by default `~/.local/state/recspan`.

    None where the variables name no directory.
    """
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(home, "recspan") if os.path.isabs(home) else None


def _link_to(path: Path) -> Path:
    state = state_directory()
    way_out = f"so that a link to it is needed; name a directory without {' '.join(_WILDCARDS)} by --root"
    if state is None or set(str(state)) & set(_WILDCARDS):
        raise ConfigError(f"--root {path}: its path reads as a pattern of files, {way_out}, or set XDG_STATE_HOME")
    link = state / "roots" / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    try:
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path, target_is_directory=True)
    except FileExistsError:
        # Another command has just made it.
        return link
    except OSError as error:
        raise ConfigError(
            f"--root {path}: its path reads as a pattern of files, {way_out} ({link} cannot be made: {error.strerror})"
        ) from None
    return link


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
