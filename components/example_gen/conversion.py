"""From raw rows of a table's file to typed columns; rows that do not fit are set aside with the reason."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.output.bad_rows import BadRow
from components.example_gen.readers import layouts
from components.example_gen.readers.blocks import RawRows
from components.example_gen.readers.problems import Problems, shown
from components.example_gen.readers.time_units import ColumnUnit
from components.example_gen.readers.times import times
from components.example_gen.readers.values import numbers, token_lists, tokens, words
from components.example_gen.rows import LABEL, POSITION, PROPENSITY, SPLIT_VALUE, TIME, TOKEN, WEIGHT, positions
from components.example_gen.splits.config import SplitConfig
from trainer_module.data.dataset import Dataset
from trainer_module.data.spec import Task
from trainer_module.data.tables import (
    MISSING_TOKEN,
    CategoricalEntry,
    ContextEntry,
    EntityTable,
    FurtherLabelEntry,
    InteractionsTable,
    LabelEntry,
    NumericEntry,
    TextEntry,
)

# Whole numbers below this are exact as floats of 64 bits.
_LABELS_BELOW = 2**53

# Tokens of users and items, before they are looked up.
USER_TOKEN, ITEM_TOKEN = "__user_token__", "__item_token__"

Entry = CategoricalEntry | TextEntry | NumericEntry | ContextEntry


def interaction_columns(dataset: Dataset, split_column: str | None) -> list[str]:
    """Columns of the interactions' files that are read."""
    table = dataset.tables.interactions
    read = [*([table.label] if dataset.reads_label else []), *dataset.further_labels]
    unread = [entry for entry in (table.label, *table.labels) if not any(entry is each for each in read)]
    names = [entry.name for entry in table.entries() if not any(entry is each for each in unread)]
    return list(dict.fromkeys([*names, split_column] if split_column else names))


def entity_columns(dataset: Dataset, table: EntityTable) -> list[str]:
    """Columns of the files of users or items that are read, with the sources of those that the layout computes."""
    names = [table.key, *([table.title] if table.title else []), *(entry.name for entry in table.entries())]
    return list(dict.fromkeys(source for name in names for source in layouts.sources(dataset.layout, name)))


def convert_interactions(
    raw: RawRows,
    dataset: Dataset,
    split: SplitConfig,
    split_column: str | None,
    known: dict[str, pa.Array],
    time_unit: ColumnUnit,
) -> tuple[pa.RecordBatch, list[BadRow]]:
    """Gives the columns of interactions their types.

    Args:
        raw: Holds all `interaction_columns`.
        dataset: Describes the table.
        split: Says which values of the split's column are known.
        split_column: Column that only the split reads.
        known: The tokens that users or items may have, by role, for tables whose unmatched rows are malformed.
        time_unit: Of all files.

    Returns:
        The good rows (`POSITION`, `USER_TOKEN`, `ITEM_TOKEN`, `TIME`, `LABEL`, `WEIGHT`, `PROPENSITY`, `SPLIT_VALUE` as
        far as the dataset has them, further labels and context features by their names), and the malformed rows.
    """
    table, problems = dataset.tables.interactions, Problems(raw.file, len(raw.numbers))
    columns: dict[str, pa.Array] = {POSITION: pa.array(positions(raw.file_number, raw.numbers))}
    for role, name in (("user", USER_TOKEN), ("item", ITEM_TOKEN)):
        if entry := getattr(table, role):
            columns[name] = _required(tokens(raw.columns[entry.name], entry.name, problems), entry.name, problems)
            if role in known:
                _check_known(columns[name], known[role], role, entry.name, problems)
    if table.time:
        values = raw.columns[table.time.name]
        values = times(values, time_unit.unit, table.time.name, problems, time_unit.is_guess)
        columns[TIME] = _required(values, table.time.name, problems)
    columns[LABEL] = _labels(raw, dataset, problems)
    for entry in dataset.further_labels:
        columns[entry.feature_name] = _label_values(raw, entry, entry.task, entry.label_range, problems)
    if table.weight:
        columns[WEIGHT] = _weights(raw, table, problems)
    if table.propensity:
        columns[PROPENSITY] = _propensities(raw, table, problems)
    if split_column:
        columns[SPLIT_VALUE] = _split_values(raw, split, split_column, problems)
    slices = set(dataset.slice_columns)
    for entry in (*table.inputs(), *table.context):
        values = feature(raw.columns[entry.name], entry, problems)
        if entry.feature_name in slices and not isinstance(entry, NumericEntry):
            values = _required(values, entry.name, problems)
        columns[entry.feature_name] = values
    return _rows_without(problems, columns), problems.bad_rows(raw)


def is_interaction(batch: pa.RecordBatch, dataset: Dataset) -> np.ndarray:
    """Whether converted rows are interactions: for retrieval, whether their label is not below `positive_from`."""
    if dataset.task != "retrieval" or not dataset.reads_label:
        return np.ones(batch.num_rows, bool)
    return batch.column(LABEL).to_numpy() == 1.0


def convert_entities(
    raw: RawRows, dataset: Dataset, table: EntityTable
) -> tuple[pa.RecordBatch, np.ndarray, list[BadRow]]:
    """Gives the columns of users or items their types.

    Args:
        raw: Holds all `entity_columns`.
        dataset: Gives the slices and the layout.
        table: The description.

    Returns:
        The good rows (`TOKEN`, and features as single values or lists), their numbers in the file, and the malformed
        rows.
    """
    problems = Problems(raw.file, len(raw.numbers))
    available = raw.columns | layouts.derive(dataset.layout, raw.columns, problems)
    columns = {TOKEN: _required(tokens(available[table.key], table.key, problems), table.key, problems)}
    if table.title and table.title_feature == table.own_title_feature:
        columns[table.title_feature] = tokens(available[table.title], table.title, problems)
    slices = set(dataset.slice_columns)
    for entry in table.entries():
        values = feature(available[entry.name], entry, problems)
        if entry.feature_name in slices:
            values = pc.fill_null(values, MISSING_TOKEN.encode())
        columns[entry.feature_name] = values
    return _rows_without(problems, columns), raw.numbers[problems.good()], problems.bad_rows(raw)


def _rows_without(problems: Problems, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """The rows of columns that have no problem."""
    batch = pa.RecordBatch.from_pydict(columns)
    return batch.take(pa.array(problems.good())) if problems.of_row else batch


def feature(values: pa.Array, entry: Entry, problems: Problems) -> pa.Array:
    """The values of an attribute or context column: one per row, or a list for several tokens."""
    if isinstance(entry, NumericEntry):
        return numbers(values, entry.name, problems)
    if isinstance(entry, TextEntry):
        return words(values)
    if isinstance(entry, CategoricalEntry) and entry.several:
        return token_lists(values, entry.separator, entry.name, problems)
    return tokens(values, entry.name, problems)


def _labels(raw: RawRows, dataset: Dataset, problems: Problems) -> pa.Array:
    """Labels, float32 `[rows]`; 1 where rows have none."""
    entry = dataset.tables.interactions.label
    if entry is None or not dataset.reads_label:
        return pa.array(np.ones(len(raw.numbers), np.float32))
    return _required(_label_values(raw, entry, dataset.task, dataset.label_range, problems), entry.name, problems)


def _label_values(
    raw: RawRows, entry: LabelEntry, task: Task, label_range: tuple[float, float] | None, problems: Problems
) -> pa.Array:
    """The values of one label, float32 `[rows]`; null where a row has none."""
    values = numbers(raw.columns[entry.name], entry.name, problems)
    found = values.to_numpy(zero_copy_only=False)
    missing = values.is_null().to_numpy(zero_copy_only=False)
    problems.add(
        np.abs(found) >= _LABELS_BELOW,
        lambda row: (
            f"column {entry.name!r}: expected a label below {_LABELS_BELOW:,} in size, found "
            f"{shown(raw.columns[entry.name][row])}; larger whole numbers lose digits, and their squared errors "
            "overflow float32. Divide the column, or take its logarithm"
        ),
    )
    if entry.positive_from is not None:
        return pa.array((found >= entry.positive_from).astype(np.float32), mask=missing)
    if task == "click":
        problems.add(
            ~np.isin(found, (0.0, 1.0)) & ~np.isnan(found),
            lambda row: (
                f"column {entry.name!r}: expected 0 or 1, found {found[row]:g}; to make clicks of other numbers, set "
                f"{_where(entry)}: {{name: {entry.name}, positive_from: ...}}"
            ),
        )
    elif label_range:
        low, high = label_range
        problems.add(
            (found < low) | (found > high),
            lambda row: f"column {entry.name!r}: expected a number from {low:g} to {high:g}, found {found[row]:g}",
        )
    return pa.array(found.astype(np.float32), mask=missing)


def _where(entry: LabelEntry) -> str:
    """The key of the experiment file that an entry stands under."""
    return "interactions.labels" if isinstance(entry, FurtherLabelEntry) else "interactions.label"


def _weights(raw: RawRows, table: InteractionsTable, problems: Problems) -> pa.Array:
    """Weights, float32 `[rows]`."""
    entry = table.weight
    assert entry is not None
    values = _required(numbers(raw.columns[entry.name], entry.name, problems), entry.name, problems)
    found = values.to_numpy(zero_copy_only=False)
    problems.add(found < 0, lambda row: f"column {entry.name!r}: expected a weight of 0 or more, found {found[row]:g}")
    with np.errstate(invalid="ignore"):
        scaled = np.log1p(np.maximum(found, 0)) if entry.transform == "log1p" else found
    return pa.array(scaled.astype(np.float32))


def _propensities(raw: RawRows, table: InteractionsTable, problems: Problems) -> pa.Array:
    """Probabilities of having been shown, float32 `[rows]`."""
    entry = table.propensity
    assert entry is not None
    values = _required(numbers(raw.columns[entry.name], entry.name, problems), entry.name, problems)
    found = values.to_numpy(zero_copy_only=False).astype(np.float32)
    problems.add(
        (found <= 0) | (found > 1),
        lambda row: f"column {entry.name!r}: expected a probability above 0 and at most 1, found {found[row]:g}",
    )
    return pa.array(found)


def _split_values(raw: RawRows, split: SplitConfig, column: str, problems: Problems) -> pa.Array:
    """Tokens of the column that the split looks at."""
    values = _required(tokens(raw.columns[column], column, problems), column, problems)
    if known := split.known_values:
        is_known = pc.is_in(values, pa.array([name.encode() for name in known], pa.large_binary()))
        problems.add(
            ~is_known.to_numpy(zero_copy_only=False),
            lambda row: (
                f"column {column!r}: expected {' or '.join(map(repr, known))}, as data.split says, found "
                f"{shown(values[row])}"
            ),
        )
    return values


def _required(values: pa.Array, name: str, problems: Problems) -> pa.Array:
    problems.add(
        values.is_null().to_numpy(zero_copy_only=False), lambda row: f"column {name!r}: expected a value, found none"
    )
    return values


def _check_known(values: pa.Array, known: pa.Array, role: str, name: str, problems: Problems) -> None:
    encoded = values.dictionary_encode()
    unknown = ~pc.is_in(encoded.dictionary, known).to_numpy(zero_copy_only=False)
    indices = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    wrong = unknown[indices] if len(unknown) else np.zeros(len(values), bool)
    problems.add(
        wrong,
        lambda row: f"column {name!r}: {role} {shown(values[row])} is not in the table {role}s, or its row is bad",
    )


def as_lists(columns: Sequence[tuple[str, pa.Array]], schema: pa.Schema) -> dict[str, pa.Array]:
    """Columns as `large_list`s of the schema's types; a null becomes the empty list."""
    lists = {}
    for name, values in columns:
        target = schema.field(name).type
        if pa.types.is_large_list(values.type):
            lists[name] = values.cast(target)
            continue
        offsets = np.concatenate([[0], np.cumsum(values.is_valid().to_numpy(zero_copy_only=False))])
        present = values.drop_null().cast(target.value_type)
        lists[name] = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), present)
    return lists
