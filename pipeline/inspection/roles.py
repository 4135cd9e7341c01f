"""Guesses which column is the user, the item, the label, the weight, the time and the split, and says why."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pipeline.inspection.columns import Column, words_of

Role = Literal["user", "item", "label", "weight", "time", "split"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HINTS: dict[str, frozenset[str]] = {
    "user": _words(
        "user userid uid customer customerid client visitor visitorid member account session sessionid reviewer "
        "reviewerid person buyer player listener reader viewer subscriber profile"
    ),
    "item": _words(
        "item itemid iid movie movieid product productid sku article asin track trackid song songid artist artistid "
        "book bookid isbn video videoid game gameid ad adid news newsid poi venue location business recipe offer "
        "hotel restaurant content show"
    ),
    "label": _words(
        "rating ratings stars star score label click clicked target like liked grade vote overall conversion converted "
        "bought purchased y"
    ),
    "weight": _words(
        "count counts plays play playcount listens quantity qty weight frequency freq purchases visits views times "
        "playtime num amount"
    ),
    "time": _words(
        "time timestamp ts date datetime created at unixtime reviewtime when day position order seq sequence step rank"
    ),
    "split": _words("split fold set subset partition phase usage"),
    "title": _words("title name"),
    "text": _words("text description review summary body comment abstract"),
}
SPLIT_VALUES = {
    "train": ("train", "training"),
    "eval": ("eval", "valid", "validation", "val", "dev"),
    "test": ("test", "testing", "holdout"),
}
_ORDINALS = ("position", "order", "seq", "sequence", "step", "rank", "day")


@dataclass(frozen=True)
class Guess:
    """A column's role.

    Attributes:
        role: In a table of interactions.
        column: Name of the column.
        evidence: Why, in words.
    """

    role: Role
    column: str
    evidence: tuple[str, ...]


def hint(name: str, role: str) -> str | None:
    """The word of a column's name that hints at a role; None without one."""
    words = words_of(name)
    joined = "".join(words)
    return next((word for word in (*words, joined) if word in HINTS[role]), None)


def is_identifier(column: Column) -> bool:
    """Whether the values can identify users or items."""
    whole = column.kind in ("integer", "text") or (column.kind == "float" and column.is_lexical_float)
    return whole and column.missing < column.rows and column.separator is None and not (column.words or 0) > 2


def guess_roles(columns: Sequence[Column], frame: pl.DataFrame, linked: Mapping[str, str]) -> dict[Role, Guess]:
    """Guesses the roles of the columns of a table of interactions.

    Args:
        columns: Of the table.
        frame: Its rows, as `columns.describe` casts them.
        linked: By column, `user` or `item`: columns that match the key of another file.

    Returns:
        At most one column for each role; each column has at most one role.
    """
    found: dict[Role, Guess] = {}

    def free() -> list[Column]:
        taken = {guess.column for guess in found.values()}
        return [c for c in columns if c.name not in taken and c.kind not in ("empty", "other")]

    def settle(role: Role, guess: tuple[Column, list[str]] | None) -> None:
        if guess:
            found[role] = Guess(role, guess[0].name, tuple(guess[1]))

    settle("split", _guess_split(free(), frame))
    for name, role in linked.items():
        column = next(c for c in columns if c.name == name)
        settle("user" if role == "user" else "item", (column, [f"its values are keys of the {role}s' file"]))
    for role in ("user", "item"):
        if role not in found:
            settle(role, _guess_by_name(free(), role, is_identifier))
    settle("time", _guess_time(free(), frame, found.get("user")))
    settle("label", _guess_label(free()))
    for role in ("user", "item"):
        if role not in found:
            # A click table of hashed columns has columns like these that are neither; take them by twos only.
            settle(role, _guess_by_shape(free(), role, found, len(columns)))
    if "time" not in found:
        settle("time", _guess_time(free(), frame, found.get("user")))
    if "user" not in found or "item" not in found:
        for role in ("user", "item"):
            if role in found and not hint(found[role].column, role) and found[role].column not in linked:
                del found[role]
    settle("weight", _guess_by_name(free(), "weight", _can_weigh))
    return found


def _can_weigh(column: Column) -> bool:
    return column.is_numeric and (column.minimum or 0) >= 0 and column.distinct > 2


def _guess_by_name(
    columns: Iterable[Column], role: str, fits: Callable[[Column], bool]
) -> tuple[Column, list[str]] | None:
    matches = []
    for column in columns:
        word = hint(column.name, role)
        if word and fits(column):
            words = words_of(column.name)
            # `user_id` before `user_age`: a name that says no more than the role comes first.
            extra = len([w for w in words if w not in (word, "id", "key", "code", "token")])
            matches.append((extra, "id" not in words and len(words) > 1, column, word))
    if not matches or min(match[:2] for match in matches)[0] > (0 if role in ("user", "item") else 2):
        return None
    column, word = min(matches, key=lambda match: match[:2])[2:]
    evidence = [f"its name has the word {word!r}", f"{column.distinct:,} distinct values in {column.rows:,} rows"]
    return column, evidence


def _guess_by_shape(
    columns: Sequence[Column], role: str, found: Mapping[Role, Guess], width: int
) -> tuple[Column, list[str]] | None:
    if width > 8:
        return None
    others = HINTS["weight"] | HINTS["time"]
    candidates = [
        c
        for c in columns
        if is_identifier(c)
        and c.kind != "float"
        and c.distinct > 2
        and not others.intersection(words_of(c.name))
        and c.missing == 0
        and c.time_unit is None
        and c.uniqueness < 0.9
    ]
    if role == "user" and "item" not in found and len(candidates) < 2:
        return None
    if not candidates:
        return None
    order = "first" if role == "user" or "user" not in found else "next"
    column = candidates[0]
    repeats = column.present / column.distinct
    return column, [f"the {order} column of identifiers, each repeated {repeats:.1f} times on average"]


def _guess_split(columns: Iterable[Column], frame: pl.DataFrame) -> tuple[Column, list[str]] | None:
    for column in columns:
        if column.kind != "text" or column.distinct > 6:
            continue
        counts = frame[column.name].drop_nulls().value_counts()
        values = {str(value): count for value, count in counts.iter_rows()}
        lower = {value.lower() for value in values}
        if lower & set(SPLIT_VALUES["train"]) and lower & set(SPLIT_VALUES["test"]):
            return column, ["its values are " + ", ".join(f"{v} ({n:,} rows)" for v, n in sorted(values.items()))]
    return None


def _guess_time(columns: Sequence[Column], frame: pl.DataFrame, user: Guess | None) -> tuple[Column, list[str]] | None:
    matches: list[tuple[int, Column, list[str]]] = []
    for column in columns:
        word = hint(column.name, "time")
        evidence = [f"its name has the word {word!r}"] if word else []
        if column.kind == "time":
            matches.append((0 if word else 1, column, [*evidence, "its values are dates or times"]))
        elif column.time_unit and column.is_numeric and column.distinct > 2:
            matches.append((2 if word else 3, column, [*evidence, f"its values are Unix times in {column.time_unit}"]))
        elif column.kind == "integer" and (word in _ORDINALS or not word) and user and column.missing == 0:
            share = _rising_share(frame, user.column, column.name)
            if share is not None and share > 0.99 and (word or share == 1.0):
                matches.append((4 if word else 5, column, [*evidence, "it counts up within each user's rows"]))
    if not matches:
        return None
    return min(matches, key=lambda match: match[0])[1:]


def _rising_share(frame: pl.DataFrame, user: str, column: str) -> float | None:
    """Share of a user's consecutive rows whose value rises by exactly one; None if too few users have two rows."""
    steps = frame.select(pl.col(column).diff().over(user).alias("step")).drop_nulls()["step"]
    return float((steps == 1).mean()) if len(steps) >= frame.height / 4 else None  # type: ignore[arg-type]


def _guess_label(columns: Sequence[Column]) -> tuple[Column, list[str]] | None:
    matches: list[tuple[int, Column, list[str]]] = []
    for column in columns:
        if column.kind not in ("integer", "float", "boolean") or column.missing or column.distinct < 2:
            continue
        low, high = column.minimum or 0.0, column.maximum or 0.0
        word = hint(column.name, "label")
        evidence = [f"its name has the word {word!r}"] if word else []
        values = f"its {column.distinct:,} values lie between {low:g} and {high:g}"
        if word:
            matches.append((0, column, [*evidence, values]))
        elif column.distinct == 2 and (low, high) == (0, 1):
            matches.append((1, column, ["its values are 0 and 1"]))
        elif hint(column.name, "weight") or hint(column.name, "time") or column.time_unit:
            continue
        elif 3 <= column.distinct <= 21 and low >= 0 and high <= 10 and _named_by_position(column):
            matches.append((2, column, [values, "it has few distinct values, as stars have"]))
    return min(matches, key=lambda match: match[0])[1:] if matches else None


def _named_by_position(column: Column) -> bool:
    """Whether the file has no header; a named column would say what it is."""
    return column.name.startswith("column_")
