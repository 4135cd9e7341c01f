"""Paths as people write them, in the one spelling that the rest of the product handles."""

import glob
import os
import re
from urllib.parse import unquote, urlsplit

BUCKETS = "gs://"

# A scheme of one letter is a drive of Windows, which is a file's name here.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_ESCAPED = re.compile(r"\[([*?[])\]")


def normal_pattern(path: str) -> str:
    """A path or pattern of files without what a shell would take away: `~`, `//`, `.`, `..` and `file://`.

    A folder or file that exists and whose name holds wildcards is taken by its name; the result has it escaped.

    Raises:
        ValueError: The path is empty, names a directory, or is of a scheme that is not supported.
    """
    if not path.strip():
        raise ValueError("an empty path; name a file")
    if "\0" in path:
        raise ValueError(f"{path!r} holds a NUL character, which no path can; name a file")
    if scheme := _SCHEME.match(path):
        if scheme[1].lower() != "file":
            return _remote(path, scheme[1])
        path = _of_url(path)
    path = os.path.expanduser(path)
    if path.rsplit("/", 1)[-1] in ("", ".", ".."):
        raise ValueError(f"{path} names a directory; name its files, as in {_joined(path.rstrip('/'), '*')}")
    return _escaped(_without_parents(path))


def is_remote(path: str) -> bool:
    """Whether a path is a URI."""
    return "://" in path


def literal(pattern: str) -> str:
    """The path that a pattern of escaped names stands for; a pattern with a wildcard is returned as it is."""
    plain = _ESCAPED.sub(r"\1", pattern)
    return plain if glob.escape(plain) == pattern else pattern


def normal_directory(path: str, what: str) -> str:
    """A directory that a command was given, local or in a bucket.

    Args:
        path: As it was given. `pathlib` may have taken one of the slashes of a URI away.
        what: Names it in messages.

    Raises:
        ValueError: It is of a scheme that is not supported.
    """
    if scheme := _SCHEME.match(path):
        rest = path[scheme.end() :].lstrip("/")
        if scheme[1].lower() == "file":
            return f"/{unquote(rest)}"
        if scheme[1] != "gs":
            raise ValueError(f"{what} {path}: {_UNSUPPORTED}")
        return BUCKETS + rest.rstrip("/")
    return os.path.abspath(os.path.expanduser(path))


_UNSUPPORTED = "files are read from this machine or from gs://; copy them to one of these, and name where they are then"


def _remote(path: str, scheme: str) -> str:
    if not path.startswith(BUCKETS):
        hint = f"begin it with {BUCKETS}" if scheme.lower() == "gs" else _UNSUPPORTED
        raise ValueError(f"{path}: {hint}")
    bucket, *names = path.removeprefix(BUCKETS).split("/")
    if not bucket or not names or not names[-1]:
        raise ValueError(f"{path} names no file; name a bucket and files in it, as in gs://bucket/folder/*.csv")
    if {"", ".", ".."} & set(names):
        raise ValueError(f"{path}: a bucket has no empty folder, no . and no ..; name the folder itself")
    return path


def _of_url(path: str) -> str:
    url = urlsplit(path)
    if url.netloc not in ("", "localhost"):
        raise ValueError(f"{path}: names the machine {url.netloc}; files of this one are file:///path or /path")
    # A wildcard is no query.
    return unquote(url.path + (f"?{url.query}" if url.query else ""))


def _without_parents(path: str) -> str:
    """Takes `//` and `.` away, and `..` as the file system does it, where links may lead elsewhere."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    start = "/" if path.startswith("/") else ""
    if ".." not in names:
        return start + "/".join(names)
    behind = len(names) - names[::-1].index("..")
    above = names[:behind]
    if any(map(glob.has_magic, above)) and not os.path.lexists(start + "/".join(above)):
        raise ValueError(f"{path}: .. behind a wildcard; name the folder itself")
    return _joined(os.path.realpath(start + "/".join(above)), "/".join(names[behind:]))


def _escaped(path: str) -> str:
    """Escapes names with wildcards that exist as they are written."""
    below = "/" if path.startswith("/") else ""
    names = []
    for name in path.split("/"):
        if name and glob.has_magic(name) and os.path.lexists(literal_path := os.path.join(below, name)):
            names.append(glob.escape(name))
            below = literal_path
        else:
            names.append(name)
            below = os.path.join(below, literal(name))
    # A shell would expand a first ~.
    return ("./" if names[0].startswith("~") else "") + "/".join(names)


def _joined(directory: str, name: str) -> str:
    return f"{directory}{'' if directory.endswith('/') else '/'}{name}"
