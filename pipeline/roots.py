"""The directories that a command writes to: checked before anything else is done, under paths that TFX can use."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from trainer_module.errors import ConfigError

_WILDCARDS = "*?[]\\"


def usable_root(root: Path) -> Path:
    """An absolute path of a root that no library takes for a pattern.

    A directory whose own path reads as a pattern is made, and is reached through a symbolic link in the user's state
    directory, the same one for every command.

    Raises:
        ConfigError: It is a URI or no path at all; the link, or the directory that it leads to, cannot be made.
    """
    if ":/" in str(root):
        raise ConfigError(f"--root {root}: a URI, and a directory of this machine is expected")
    path = root.expanduser().absolute()
    if "\0" in str(path):
        raise ConfigError(f"--root {str(root)!r}: a path cannot hold a NUL byte; name another directory")
    if not reads_as_pattern(path):
        return path
    require_writable(path, "--root")
    return _link_to(path)


def reads_as_pattern(path: Path) -> bool:
    """Whether TFX, Beam or TensorFlow would take an absolute path for a pattern, or stumble over a line end in it."""
    return any(character in _WILDCARDS or not character.isprintable() for character in str(path))


def state_directory() -> Path | None:
    """Where the product may keep files of its own: `$XDG_STATE_HOME/recspan`, by default `~/.local/state/recspan`.

    None where the variables name no directory.
    """
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(home, "recspan") if os.path.isabs(home) else None


def _link_to(path: Path) -> Path:
    problem = (
        f"--root {path}: its path reads as a pattern of files, so that a link to it is needed; name a directory "
        f"without {' '.join(_WILDCARDS)} by --root"
    )
    state = state_directory()
    if state is None or reads_as_pattern(state):
        raise ConfigError(f"{problem}, or set XDG_STATE_HOME")
    link = state / "roots" / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        # Another command may make it at the same time.
        with contextlib.suppress(FileExistsError):
            link.symlink_to(path, target_is_directory=True)
        if link.readlink() == path:
            return link
        reason = "something else has its name"
    except OSError as error:
        reason = error.strerror
    raise ConfigError(f"{problem} ({link} cannot be made: {reason})")


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
