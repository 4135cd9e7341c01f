"""Downloads two public datasets that the comparison with published results reads: Gowalla and Amazon Beauty.

python -m benchmarks.public_data

Both come as text with one user per line: the user's number, then the numbers of the user's items. They are written as
tables that an experiment file can name. Their sources state no licence; use them for research.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pooch
import pyarrow as pa
import pyarrow.csv
import requests
import typer

Lists = dict[int, list[int]]


@dataclass(frozen=True)
class TextFile:
    """A file with one user per line.

    Attributes:
        name: Name of the file.
        url: Where it is published.
        sha256: Of its lists in the form of `canonical`.
        is_ordered: Whether the order of a user's items matters; if not, they are sorted before they are compared.
    """

    name: str
    url: str
    sha256: str
    is_ordered: bool = False


@dataclass(frozen=True)
class PublicData:
    """A dataset.

    Attributes:
        files: Text files by the name of their split.
        table: From the lists of each split to the table of interactions.
    """

    files: Mapping[str, TextFile]
    table: Callable[[Mapping[str, Lists]], pa.Table]


def gowalla_table(lists: Mapping[str, Lists]) -> pa.Table:
    """Columns `user`, `item` and `split`; rows have no order."""
    parts = []
    for split, of_users in lists.items():
        user, item = _pairs(of_users)
        parts.append(pa.table({"user": user, "item": item, "split": pa.array([split] * len(user))}))
    return pa.concat_tables(parts)


def beauty_table(lists: Mapping[str, Lists]) -> pa.Table:
    """Columns `user`, `item` and `position`, which counts a user's rows in the order of time."""
    (of_users,) = lists.values()
    user, item = _pairs(of_users)
    position = np.concatenate([np.arange(len(items)) for items in of_users.values()])
    return pa.table({"user": user, "item": item, "position": position})


_GOWALLA = "https://raw.githubusercontent.com/gusye1234/LightGCN-PyTorch/master/data/gowalla"
_BEAUTY = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data"
DATASETS = {
    "gowalla": PublicData(
        {
            "train": TextFile(
                "train.txt",
                f"{_GOWALLA}/train.txt",
                "0f086326b28a56c2e6dcb81d86ee72d4ccb7eed3a8d26788392356d8f51111cc",
            ),
            "test": TextFile(
                "test.txt",
                f"{_GOWALLA}/test.txt",
                "95a7e4ee029370c4ccac0d6a0c8cc0615b574ac89642081cdf946090e0dd5bda",
            ),
        },
        gowalla_table,
    ),
    "amazon-beauty": PublicData(
        {
            "all": TextFile(
                "Beauty.txt",
                f"{_BEAUTY}/Beauty.txt",
                "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
                is_ordered=True,
            )
        },
        beauty_table,
    ),
}


def main(
    data: Annotated[Path, typer.Option(help="Directory of the datasets.")] = Path("data"),
    source: Annotated[
        Path | None, typer.Option(help="Directory with train.txt, test.txt and Beauty.txt, in place of the network.")
    ] = None,
) -> None:
    """Download the datasets that are not there yet, and compare their checksums."""
    for name, dataset in DATASETS.items():
        target = data / name / "interactions.csv.gz"
        if target.exists():
            print(f"{target} is already there")
            continue
        table = dataset.table({split: _lists(file, source) for split, file in dataset.files.items()})
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            part = Path(scratch) / target.name
            with pa.CompressedOutputStream(str(part), "gzip") as stream:
                pa.csv.write_csv(table, stream)
            part.replace(target)
        print(f"{target}: {table.num_rows:,} rows")


def parse(text: str) -> Lists:
    """Items by user.

    Raises:
        ValueError: A line holds something else than whole numbers, or a user has two lines.
    """
    lists: Lists = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        user, *items = (int(number) for number in line.split())
        if user in lists:
            raise ValueError(f"user {user} has two lines")
        if items:
            lists[user] = items
    return lists


def canonical(lists: Lists, is_ordered: bool) -> str:
    """The lists as text, whatever blanks and order of lines they came with."""
    return "".join(
        " ".join(map(str, [user, *(items if is_ordered else sorted(items))])) + "\n"
        for user, items in sorted(lists.items())
    )


def _lists(file: TextFile, source: Path | None) -> Lists:
    with tempfile.TemporaryDirectory() as scratch:
        lists = parse((source / file.name if source else _download(file, scratch)).read_text())
    found = hashlib.sha256(canonical(lists, file.is_ordered).encode()).hexdigest()
    if found != file.sha256:
        raise SystemExit(f"{file.name} does not hold the lists that published results are about: {found}")
    return lists


def _download(file: TextFile, directory: str) -> Path:
    print(f"downloading {file.url}")
    try:
        return Path(pooch.retrieve(file.url, known_hash=None, path=directory))
    except requests.RequestException as error:
        raise SystemExit(
            f"{file.url} cannot be read ({error}). With a copy of {file.name} at hand: --source DIRECTORY"
        ) from error


def _pairs(lists: Lists) -> tuple[np.ndarray, np.ndarray]:
    def items() -> Iterator[int]:
        return (item for of_user in lists.values() for item in of_user)

    users = np.repeat(list(lists), [len(of_user) for of_user in lists.values()])
    return users, np.fromiter(items(), np.int64, len(users))


if __name__ == "__main__":
    typer.run(main)
