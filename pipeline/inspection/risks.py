"""Warns of leaking, constant and near-unique columns, identifiers that are floats, and users with few rows."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from pipeline.inspection.columns import Column
from pipeline.inspection.findings import Facts, FoundTable, Link
from pipeline.inspection.roles import SPLIT_VALUES, Guess

_NEAR_UNIQUE = 0.9
_LEAKING_AUC = 0.98
# A column whose values settle the label takes away so much of the errors of guessing the commonest label.
_LEAKING_GAIN = 0.98
_ROWS_PER_VALUE = 5


def find_leaks(table: FoundTable, roles: Mapping[str, Guess]) -> dict[str, str]:
    """Columns of the interactions that give the label away, with the reason.

    A column leaks if it determines the label: numbers that order rows by a binary label with an area under the ROC
    curve of at least .98, values of at least five rows each that settle the label in nearly every row, or values that
    are present only where the label is 1.
    """
    if "label" not in roles:
        return {}
    label = roles["label"].column
    taken = {guess.column for guess in roles.values()}
    leaks = {}
    for column in table.columns:
        if column.name in taken or column.kind in ("list", "other", "empty") or column.is_constant:
            continue
        if reason := _leak(table.frame.select(column.name, label), column, table.column(label)):
            leaks[column.name] = reason
    return leaks


def _leak(pair: pl.DataFrame, column: Column, label: Column) -> str | None:
    value, target = pair.columns
    if label.distinct == 2:
        positive = pair[target] == label.maximum
        filled = pair[value].is_not_null()
        if column.missing and not (filled & ~positive).any() and filled.any():
            return f"it has a value only where {target} is {label.maximum:g}"
        if column.is_numeric:
            area = auc(pair[value], positive)
            if area is not None and max(area, 1 - area) >= _LEAKING_AUC:
                return f"it alone orders the rows by {target} with an AUC of {max(area, 1 - area):.3f}"
    present = pair.drop_nulls()
    if present.height < _ROWS_PER_VALUE * column.distinct or present.height < 20:
        return None
    commonest = present.group_by(value, target).len().group_by(value).agg(pl.col("len").max())
    errors = present.height - int(commonest["len"].sum())
    base = present.height - int(present[target].value_counts()["count"].sort()[-1])
    if base and 1 - errors / base >= _LEAKING_GAIN:
        return f"its value settles {target} in {1 - errors / present.height:.1%} of the rows"
    return None


def auc(scores: pl.Series, positive: pl.Series) -> float | None:
    """Area under the ROC curve, with ties counted half; rows without a score do not count. None with one class only."""
    frame = pl.DataFrame({"score": scores, "positive": positive}).drop_nulls()
    hits = int(frame["positive"].sum())
    misses = frame.height - hits
    if not hits or not misses:
        return None
    ranks = frame.select(pl.col("score").rank("average").filter(pl.col("positive")).sum()).item()
    return (ranks - hits * (hits + 1) / 2) / (hits * misses)


def find_warnings(
    table: FoundTable, links: Sequence[Link], roles: Mapping[str, Guess], facts: Facts, leaks: Mapping[str, str]
) -> tuple[str, ...]:
    """All warnings, in words."""
    return (
        *_about_columns(table, roles, leaks),
        *(warning for link in links for warning in _about_link(link)),
        *_about_rows(table, roles, facts),
    )


def _about_columns(table: FoundTable, roles: Mapping[str, Guess], leaks: Mapping[str, str]) -> Iterator[str]:
    by_column = {guess.column: role for role, guess in roles.items()}
    for column in table.columns:
        role = by_column.get(column.name)
        if column.is_constant:
            what = f"has the value {column.examples[0]} in every row" if column.examples else "is empty"
            yield f"{column.name} {what}; it says nothing and is left out"
        if role in ("user", "item") and column.kind == "float":
            yield (
                f"{column.name} identifies the {role} but is written as a float ({column.examples[0]}); a join with "
                "another file fails if that file writes whole numbers, so export it as an integer or text"
            )
        if role in ("user", "item") and column.missing:
            yield f"{column.name} is missing in {column.missing:,} rows; such rows are malformed (data.max_bad_rows)"
        if role is None and column.name in leaks:
            yield f"{column.name} leaks the label: {leaks[column.name]}. It is left out"
        elif role is None and is_near_unique(column):
            yield f"{column.name} has a new value in nearly every row; no model can learn from it, so it is left out"


def is_near_unique(column: Column) -> bool:
    """Whether tokens hardly ever repeat; numbers may."""
    return column.kind in ("text", "integer") and column.rows >= 20 and column.uniqueness > _NEAR_UNIQUE


def _about_link(link: Link) -> Iterator[str]:
    article = "an" if link.role == "item" else "a"
    if link.rows_without:
        yield (
            f"{link.rows_without:,} interactions of the sample have {article} {link.role} without a row in "
            f"{link.table.label}; all its attributes count as missing ({link.role}s.unmatched: bad_row refuses them)"
        )
    if link.unused and link.role == "item":
        yield (
            f"{link.unused:,} of {link.table.sampled_rows:,} items in {link.table.label} have no interaction in the "
            "sample; a model knows them by their attributes alone"
        )
    for column in link.table.columns:
        if column.is_constant:
            yield f"{column.name} in {link.table.label} is constant or empty; it is left out"


def _about_rows(table: FoundTable, roles: Mapping[str, Guess], facts: Facts) -> Iterator[str]:
    if facts.users and "time" in roles and table.is_whole and facts.users.below_three > 0.5:
        yield (
            f"{facts.users.below_three:.0%} of the users have fewer than three rows; leave-last-out keeps "
            "all their rows in train"
        )
    if "split" in roles:
        yield from _only_tested(table, roles)
    if "label" in roles and table.column(roles["label"].column).distinct == 2:
        label = roles["label"].column
        positive = float((table.frame[label] == table.column(label).maximum).mean())  # type: ignore[arg-type]
        if min(positive, 1 - positive) < 0.001:
            yield f"only {min(positive, 1 - positive):.3%} of the rows have the rarer label; metrics on them are noisy"


def _only_tested(table: FoundTable, roles: Mapping[str, Guess]) -> Iterator[str]:
    split = roles["split"].column
    lower = pl.col(split).str.to_lowercase()
    train = table.frame.filter(lower.is_in(SPLIT_VALUES["train"]))
    test = table.frame.filter(lower.is_in(SPLIT_VALUES["test"]))
    for role in ("user", "item"):
        if role not in roles:
            continue
        name = roles[role].column
        tested = test[name].drop_nulls().unique()
        new = int((~tested.is_in(train[name].drop_nulls().unique().implode())).sum())
        if new:
            yield (
                f"{new:,} of the {len(tested):,} {role}s in the test rows are in no train row"
                f"{'' if table.is_whole else ' of the sample'}; a model has learned nothing of them"
            )
