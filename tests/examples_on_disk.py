"""Reads the examples that a component wrote, in either payload."""

from pathlib import Path

from trainer_module.data.example_files import read_file


def read_split(folder: Path | str) -> list[dict[str, list]]:
    """The examples of a split as values by column, in the order of the files; a column without values is empty."""
    return [
        {name: values or [] for name, values in row.items()}
        for file in sorted(map(str, Path(folder).iterdir()))
        for batch in read_file(file)
        for row in batch.to_pylist()
    ]
