from pathlib import Path

import pytest

from trainer_module.data.paths import literal, normal_directory, normal_pattern


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A directory with some files, which is the current one and a user's home."""
    for name in ("a.csv", "x/a.csv", "[x]/a.csv", "b[1].csv", "far/away/c.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "written, normal",
    [
        ("a.csv", "a.csv"),
        ("./a.csv", "a.csv"),
        ("x//a.csv", "x/a.csv"),
        ("x/./a.csv", "x/a.csv"),
        (".//x/././/a.csv", "x/a.csv"),
        ("//a.csv", "/a.csv"),
        ("x/*.csv", "x/*.csv"),
        ("day-{SPAN}/*.csv", "day-{SPAN}/*.csv"),
        ("[x]/a.csv", "[[]x]/a.csv"),
        ("[x]/*.csv", "[[]x]/*.csv"),
        ("[y]/a.csv", "[y]/a.csv"),
        ("b[1].csv", "b[[]1].csv"),
        ("./~a.csv", "./~a.csv"),
        ("gs://bucket/events/*.csv", "gs://bucket/events/*.csv"),
        ("file:///data/a%20b.csv", "/data/a b.csv"),
        ("file://localhost/data/day?.csv", "/data/day?.csv"),
        ("C:\\a.csv", "C:\\a.csv"),
        ("a b é.csv", "a b é.csv"),
    ],
)
def test_one_spelling_that_stays_as_it_is(written, normal):
    assert normal_pattern(written) == normal
    assert normal_pattern(normal) == normal


def test_parents_are_those_of_the_file_system(here):
    assert normal_pattern("x/../a.csv") == str(here / "a.csv")
    assert normal_pattern("link/../*.csv") == f"{here}/far/*.csv"
    assert normal_pattern("~/x.csv") == str(here / "x.csv")


@pytest.mark.parametrize(
    "written, said",
    [
        ("", "an empty path"),
        ("  ", "an empty path"),
        (".", r"\. names a directory; name its files, as in \./\*"),
        ("..", "names a directory"),
        ("/", r"/ names a directory; name its files, as in /\*"),
        ("x/", r"x/ names a directory; name its files, as in x/\*"),
        ("x/..", "names a directory"),
        ("x/*/../a.csv", "behind a wildcard"),
        ("s3://bucket/a.csv", "s3://bucket/a.csv: files are read from this machine or from gs://"),
        ("S3://bucket/a.csv", "from this machine or from gs://"),
        ("http://host/a.csv", "from this machine or from gs://"),
        ("hdfs://host/a.csv", "from this machine or from gs://"),
        ("GS://bucket/a.csv", "begin it with gs://"),
        ("gs://bucket", "names no file"),
        ("gs:///a.csv", "names no file"),
        ("gs://bucket/folder/", "names no file"),
        ("gs://bucket/x/../a.csv", "has no empty folder"),
        ("gs://bucket//a.csv", "has no empty folder"),
        ("file://host/a.csv", "names the machine host"),
        ("a\0b", "NUL"),
    ],
)
def test_what_names_no_file_is_refused(written, said):
    with pytest.raises(ValueError, match=said):
        normal_pattern(written)


def test_escaped_names_and_wildcards():
    assert literal("b[[]1].csv") == "b[1].csv"
    assert literal("[x]/*.csv") == "[x]/*.csv"
    assert literal("[[]x]/*.csv") == "[[]x]/*.csv"


def test_a_directory_in_a_bucket_keeps_its_slashes(here):
    assert normal_directory(str(Path("gs://bucket/raw")), "--data-dir") == "gs://bucket/raw"
    assert normal_directory("x/../[x]", "--data-dir") == str(here / "[x]")
    assert normal_directory("~/x", "--data-dir") == str(here / "x")
    with pytest.raises(ValueError, match="--data-dir s3:/bucket/raw: files are read from"):
        normal_directory(str(Path("s3://bucket/raw")), "--data-dir")
