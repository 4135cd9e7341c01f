"""What the description of own tables rules out before any file is opened."""

from collections.abc import Iterator

from trainer_module.data.dataset import Dataset
from trainer_module.data.tables import CategoricalEntry, EntityTable, InteractionsTable, TableFiles

Described = InteractionsTable | EntityTable


def check_tables(dataset: Dataset, split_column: str | None) -> None:
    """Checks that the files can hold the columns as they are described.

    Args:
        dataset: Tables of a user's own, whose columns are those of the files.
        split_column: Column of the interactions that only the split reads.

    Raises:
        ValueError: They cannot; names the entry and the way out.
    """
    for name, table in dataset.tables.named():
        assert isinstance(table, Described)
        _check_lists(name, table)
        _check_named_columns(name, table, split_column if name == "interactions" else None)
    _check_labels(dataset, split_column)


def _check_lists(name: str, table: Described) -> None:
    """Text has no lists: a cell of several tokens needs a separator, and one that can stand in a cell."""
    if {table.format_of(file) for file in table.files} != {"csv"}:
        return
    for entry in table.inputs():
        if not isinstance(entry, CategoricalEntry):
            continue
        where = f"{name}.categorical {entry.name!r}"
        if entry.multivalent and entry.separator is None:
            raise ValueError(
                f"{where} is multivalent, but a cell of CSV is no list; name what stands between its tokens, as in "
                f'{{name: {entry.name}, separator: "|"}}'
            )
        delimiters = {table.delimiter_of(file) for file in table.files}
        if entry.separator and not table.quoted and any(delimiter in entry.separator for delimiter in delimiters):
            raise ValueError(
                f"{where}: the separator {entry.separator!r} holds the delimiter of the fields, which ends a cell that "
                "is not quoted; take quoted: true, or another separator or delimiter"
            )


def _check_named_columns(name: str, table: Described, split_column: str | None) -> None:
    """Where the experiment names all columns of the files, those that it describes must be among them."""
    if not table.column_names:
        return
    for where, column in _described(name, table, split_column):
        if column not in table.column_names:
            raise ValueError(
                f"{where} {column!r} is not in {name}.column_names, {', '.join(map(repr, table.column_names))}; mend "
                "the one or the other"
            )


def _described(name: str, table: TableFiles, split_column: str | None) -> Iterator[tuple[str, str]]:
    if isinstance(table, EntityTable):
        yield f"{name}.key", table.key
        if table.title:
            yield f"{name}.title", table.title
    if isinstance(table, InteractionsTable):
        for role in ("user", "item", "label", "weight", "propensity", "time"):
            if entry := getattr(table, role):
                yield f"{name}.{role}", entry.name
    if isinstance(table, Described):
        for entry in (*(table.labels if isinstance(table, InteractionsTable) else ()), *table.inputs(), *table.context):
            yield f"{name}.{entry.section}", entry.name
    if split_column:
        yield "the column of split", split_column


def _check_labels(dataset: Dataset, split_column: str | None) -> None:
    """A model that reads what it predicts, or a split that follows it, is of no use."""
    interactions = dataset.tables.interactions
    labels = {entry.name: "interactions.labels" for entry in dataset.further_labels}
    if interactions.label and dataset.reads_label:
        labels[interactions.label.name] = "interactions.label"
    # The weight may be a label's own column: counts of plays make positives and weigh them.
    roles = {role: getattr(interactions, role) for role in ("user", "item", "time")}
    named = [(f"interactions.{role}", entry) for role, entry in roles.items() if entry]
    named += [(f"interactions.{entry.section}", entry) for entry in interactions.inputs()]
    for where, entry in named:
        if entry.name in labels:
            raise ValueError(
                f"{where} {entry.name!r} is also {labels[entry.name]}, so the model would read what it predicts; "
                "remove one of the two"
            )
    if split_column in labels:
        raise ValueError(
            f"split reads the column {split_column!r}, which is {labels[split_column]}; name another column"
        )
