"""Checks the columns of a query's result against what the experiment makes of them, before any row is read."""

from collections.abc import Iterator, Sequence

from google.cloud import bigquery

from trainer_module.data.tables import CategoricalEntry, EntityTable, InteractionsTable, NumericEntry
from trainer_module.errors import DataError
from trainer_module.suggestions import did_you_mean

# Types that no conversion reads, and what to select instead.
_REFUSED = {
    "RECORD": "Select its fields as columns of their own, as in {0}.name AS name",
    "STRUCT": "Select its fields as columns of their own, as in {0}.name AS name",
    "JSON": "Select its values as columns of their own, as in JSON_VALUE({0}, '$.name') AS name",
    "GEOGRAPHY": "Select numbers or a text, as in ST_X({0}) AS longitude",
    "RANGE": "Select its ends, as in RANGE_START({0}) AS first",
    "INTERVAL": "Select a number, as in EXTRACT(DAY FROM {0}) AS days",
    "TIME": "Select a number, as in EXTRACT(HOUR FROM {0}) AS hour",
}
_TEMPORAL = ("DATE", "DATETIME", "TIMESTAMP")


def check_result(
    where: str,
    table: InteractionsTable | EntityTable,
    wanted: Sequence[str],
    fields: Sequence[bigquery.SchemaField],
) -> None:
    """Checks that a result has the columns that are read, in types that can be converted.

    Args:
        where: Key of the experiment file, such as `data.items.query`.
        table: Says what the columns mean.
        wanted: Names of the columns that are read.
        fields: Columns of the result.

    Raises:
        DataError: A column is missing or of a wrong type; names it and what to select.
    """
    by_name = {field.name: field for field in fields}
    for name in wanted:
        if name not in by_name:
            hint = did_you_mean(name, list(by_name), always=False)
            raise DataError(
                f"{where}: the result has no column {name!r}. {hint}It has {', '.join(map(repr, by_name))}. Select the "
                "column, or mend the table's description"
            )
        field = by_name[name]
        if advice := _REFUSED.get(field.field_type):
            kind = f"ARRAY of {field.field_type}" if field.mode == "REPEATED" else field.field_type
            raise DataError(
                f"{where}: column {name!r} is of type {kind}; expected numbers, texts, timestamps or arrays of them. "
                f"{advice.format(name)}"
            )
    lists = {entry.name for entry in table.inputs() if isinstance(entry, CategoricalEntry) and entry.several}
    for name in wanted:
        if by_name[name].mode == "REPEATED" and name not in lists:
            raise DataError(
                f"{where}: column {name!r} is an ARRAY, and one value a row is expected. If it holds tokens, say "
                f"{{name: {name}, multivalent: true}}; else select one value, as in {name}[SAFE_OFFSET(0)] AS {name}"
            )
    for key, name in _numbers(table):
        if name in wanted and by_name[name].field_type in _TEMPORAL:
            raise DataError(
                f"{where}: column {name!r} is of type {by_name[name].field_type}, and {key} is a number. Select a "
                f"number, as in EXTRACT(HOUR FROM {name}) AS {name}, or use the column as time"
            )


def _numbers(table: InteractionsTable | EntityTable) -> Iterator[tuple[str, str]]:
    """Keys of a table's description and columns that must hold numbers."""
    if isinstance(table, InteractionsTable):
        for role in ("label", "weight", "propensity"):
            if entry := getattr(table, role):
                yield role, entry.name
        for entry in table.labels:
            yield entry.section, entry.name
    for entry in table.inputs():
        if isinstance(entry, NumericEntry):
            yield entry.section, entry.name
