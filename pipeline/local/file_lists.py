"""Lists of the files that a component has written, to tell later whether they are still there and whole."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ListedFile:
    """A file as it was when it was listed.

    Attributes:
        size: Bytes.
        sha256: Hex digest; None if only presence and size are compared.
        changed_ns: When the file's content or attributes last changed (`st_ctime_ns`). While it is the same, the digest
            is not computed again.
    """

    size: int
    sha256: str | None = None
    changed_ns: int = 0


@dataclass(frozen=True)
class FileList:
    """The files below a directory.

    Attributes:
        directory: Absolute path.
        files: By path relative to it.
    """

    directory: str
    files: dict[str, ListedFile]

    @classmethod
    def of(cls, directory: str, digests: bool = False, without: tuple[str, ...] = ()) -> "FileList":
        """Lists what a directory holds.

        Args:
            directory: Absolute path; one that is missing holds nothing.
            digests: Whether contents are compared later, not only sizes.
            without: Relative paths of files that may change.
        """
        files = {}
        for path in _files_below(directory):
            name = os.path.relpath(path, directory)
            if name not in without:
                found = os.stat(path)
                sha256 = _sha256(path) if digests else None
                files[name] = ListedFile(found.st_size, sha256, found.st_ctime_ns if digests else 0)
        return cls(directory, files)

    def damage(self) -> str | None:
        """What is wrong with the first file that is not as it was; None if all are."""
        for name, listed in sorted(self.files.items()):
            path = os.path.join(self.directory, name)
            try:
                found = os.stat(path)
                if found.st_size != listed.size:
                    return f"{path} has {found.st_size:,} bytes, and {listed.size:,} were written"
                changed = listed.sha256 is not None and found.st_ctime_ns != listed.changed_ns
                if changed and _sha256(path) != listed.sha256:
                    return f"{path} holds other bytes than were written"
            except FileNotFoundError:
                return f"{path} is gone"
            except OSError as error:
                return f"{path} cannot be read ({(error.strerror or str(error)).lower()})"
        return None

    def to_json(self) -> str:
        """Serializes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "FileList":
        """Restores what `to_json` wrote.

        Raises:
            ValueError: The text is no such list.
        """
        try:
            fields = json.loads(text)
            return cls(fields["directory"], {name: ListedFile(**each) for name, each in fields["files"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no list of files: {error}") from error


def _files_below(directory: str) -> Iterator[str]:
    for parent, _, names in os.walk(directory):
        yield from (os.path.join(parent, name) for name in names if not os.path.islink(os.path.join(parent, name)))


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
