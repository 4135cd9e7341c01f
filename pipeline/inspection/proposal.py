"""Proposes an experiment from what an inspection found, as lines of YAML with comments."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.inspection.columns import Column
from pipeline.inspection.findings import Findings, FoundTable, Link
from pipeline.inspection.risks import is_near_unique
from pipeline.inspection.roles import SPLIT_VALUES, hint
from trainer_module.data.tables import feature_name
from trainer_module.errors import DataError

_MOST_TOKENS_SHARE = 0.5
_FEW_NUMBERS = 20
_LEAST_USERS_FOR_LAST_OUT = 0.1
# Names that the pipeline gives to columns of its own.
_OWN_FEATURES = ("user_activity", "history", "rated", "raters", "interaction")


@dataclass(frozen=True)
class Attributes:
    """How the columns of a table serve the model.

    Attributes:
        title: Column by which people know the entity.
        categorical: Entries of the experiment file.
        numeric: The same.
        text: The same.
        context: The same.
        left_out: By column: the reason.
    """

    title: str | None
    categorical: tuple[Any, ...]
    numeric: tuple[Any, ...]
    text: tuple[Any, ...]
    context: tuple[Any, ...]
    left_out: dict[str, str]


def task_of(findings: Findings) -> tuple[str, str]:
    """The task that fits the interactions, and why.

    Raises:
        DataError: The interactions have neither a label nor both a user and an item.
    """
    label = findings.name("label")
    if label is None:
        if findings.name("user") and findings.name("item"):
            return "retrieval", "no column looks like a label, so every row counts as a positive"
        raise DataError(
            f"{findings.interactions.label}: no task fits, as no column looks like a label and none like "
            f"{'an item' if findings.name('user') else 'a user'}. Rename the columns to say what they are, as "
            "in user_id, item_id and rating, or write the experiment by hand (docs/own_data.md)"
        )
    column = findings.interactions.column(label)
    if column.distinct == 2:
        return "click", f"{label} has two values"
    return "rating", f"{label} is a number with {column.distinct:,} values"


def propose(findings: Findings) -> str:
    """The experiment file.

    Raises:
        DataError: No task fits the data.
    """
    task, why = task_of(findings)
    used = set(_OWN_FEATURES) | {feature_name(guess.column) for guess in findings.roles.values()}
    own = describe_attributes(
        findings.interactions, "event", used, {g.column for g in findings.roles.values()} | set(findings.leaks)
    )
    described = {}
    for link in findings.links:
        described[link.role] = describe_attributes(link.table, link.role, used, {link.key})
    lines = [f"name: {_slug(findings.interactions.files[0])}", "data:", *_interactions(findings, task, own)]
    for link in findings.links:
        lines += _entities(link, described[link.role])
    lines.append(f"  task: {task}  # {why}")
    lines += _alternatives(findings, task)
    lines += _split(findings, task)
    numeric = bool(own.numeric and task != "retrieval") or any(entry.numeric for entry in described.values())
    lines += _model(findings, task, numeric)
    read = findings.interactions
    how = f"all {read.sampled_rows:,}" if read.is_whole else f"a sample of {read.sampled_rows:,}"
    total = f" of about {read.rows:,}" if read.rows and not read.is_whole else ""
    head = [
        f"# Proposed by `recspan data inspect` from {how} rows{total}; run it with",
        "# `recspan pipeline run --config THIS_FILE`. Comments say why a column has its role, and name alternatives.",
    ]
    return "\n".join([*head, *lines]) + "\n"


def describe_attributes(table: FoundTable, role: str, used: set[str], taken: set[str]) -> Attributes:
    """Sorts columns into tokens, numbers, text and what is left out.

    Args:
        table: The files.
        role: `user`, `item` or `event`; prefixes features whose name is taken.
        used: Names of features so far; grows.
        taken: Columns that have a role of their own.
    """
    title, left_out = None, {}
    entries: dict[str, list[Any]] = {"categorical": [], "numeric": [], "text": [], "context": []}
    for column in table.columns:
        if column.name in taken:
            continue
        if reason := _reason_to_leave_out(column):
            left_out[column.name] = reason
        elif title is None and role != "event" and _is_title(column):
            title = column.name
            # The title's feature has the name of its column; a context column may give it another one.
            entry = _entry(column, role, used)
            entries["context"] += [entry] if isinstance(entry, dict) else []
            if (column.words or 0) >= 2:
                entries["text"].append(_entry(column, role, used, as_words=True))
        elif column.kind == "text" and role != "event" and (column.words or 0) > 3 and not column.separator:
            entries["text"].append(_entry(column, role, used, as_words=True))
        elif _is_number(column):
            entries["numeric"].append(_entry(column, role, used))
        elif is_near_unique(column) and column.separator is None:
            left_out[column.name] = "nearly every row has a value of its own"
        else:
            entries["categorical"].append(_entry(column, role, used))
    return Attributes(title=title, left_out=left_out, **{name: tuple(each) for name, each in entries.items()})


def _reason_to_leave_out(column: Column) -> str | None:
    if column.kind == "empty":
        return "it is empty"
    if column.is_constant:
        return "it is constant"
    if column.kind == "other":
        return "its type is not a text, number, time or list"
    if column.kind == "time" or column.time_unit:
        return "it is a time, and no model reads times"
    return None


def _is_title(column: Column) -> bool:
    """Whether people know an entity by the text: its name says so, or nearly every row has its own few words."""
    if column.kind != "text" or column.separator:
        return False
    return hint(column.name, "title") is not None or (is_near_unique(column) and 2 <= (column.words or 0) <= 8)


def _is_number(column: Column) -> bool:
    return column.kind == "float" or (
        column.kind == "integer" and column.distinct > _FEW_NUMBERS and not _is_code(column)
    )


def _is_code(column: Column) -> bool:
    """Whether whole numbers name something, by the column's name."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower())
    return bool({"id", "code", "zip", "zipcode", "postcode", "category", "type", "class"} & set(words))


def _entry(column: Column, role: str, used: set[str], as_words: bool = False) -> Any:
    """An entry for a column, with a feature of its own where the default one is taken."""
    entry: dict[str, Any] = {"name": column.name}
    name = feature_name(column.name) + ("_words" if as_words else "")
    if name in used:
        first = f"{role}_{name}"
        candidates = itertools.chain([first], (f"{first}_{number}" for number in itertools.count(2)))
        name = next(candidate for candidate in candidates if candidate not in used)
        entry["feature"] = name
    used.add(name)
    if column.separator and not as_words:
        entry["separator"] = column.separator
    elif column.kind == "list":
        entry["multivalent"] = True
    return entry if len(entry) > 1 else column.name


def _interactions(findings: Findings, task: str, own: Attributes) -> Iterator[str]:
    table = findings.interactions
    yield "  interactions:"
    yield from _files(table, "    ")
    for role in ("user", "item"):
        if role in findings.roles:
            yield _line("    ", role, findings.roles[role].column, "; ".join(findings.roles[role].evidence))
    if "label" in findings.roles:
        guess = findings.roles["label"]
        column = table.column(guess.column)
        entry: Any = guess.column
        if task == "click" and (column.minimum, column.maximum) != (0, 1):
            entry = {"name": guess.column, "positive_from": _plain(column.maximum or 0)}
        yield _line("    ", "label", entry, "; ".join(guess.evidence))
    if "weight" in findings.roles and task == "retrieval":
        guess = findings.roles["weight"]
        yield _line("    ", "weight", {"name": guess.column, "transform": "log1p"}, "; ".join(guess.evidence))
    if "time" in findings.roles:
        yield _line("    ", "time", findings.roles["time"].column, "; ".join(findings.roles["time"].evidence))
    weight = findings.name("weight")
    numeric = own.numeric + ((weight,) if weight and task != "retrieval" else ())
    prefix = "    "
    if task == "retrieval" and (own.categorical or numeric):
        yield "    # What describes the event must be known when items are recommended. For the query to read it:"
        prefix = "    # "
    yield from _inputs(prefix, own.categorical, numeric)
    yield from _left_out(own.left_out | findings.leaks)


def _entities(link: Link, attributes: Attributes) -> Iterator[str]:
    yield f"  {link.role}s:"
    yield from _files(link.table, "    ")
    yield _line("    ", "key", link.key, "; ".join(link.evidence))
    if attributes.title:
        yield _line("    ", "title", attributes.title)
    yield from _inputs("    ", attributes.categorical, attributes.numeric)
    if attributes.text:
        yield _line("    ", "text", list(attributes.text), "read as words")
    if attributes.context:
        yield _line("    ", "context", list(attributes.context), "the title's feature, as its name is taken")
    yield from _left_out(attributes.left_out)


def _inputs(prefix: str, categorical: Sequence[Any], numeric: Sequence[Any]) -> Iterator[str]:
    if categorical:
        yield _line(prefix, "categorical", list(categorical))
    if numeric:
        yield _line(prefix, "numeric", list(numeric))


def _left_out(reasons: dict[str, str]) -> Iterator[str]:
    for name, reason in reasons.items():
        yield f"    # Left out: {_one_line(name)}, as {_one_line(reason)}."


def _files(table: FoundTable, indent: str) -> Iterator[str]:
    files: Any = table.files[0] if len(table.files) == 1 else list(table.files)
    yield _line(indent, "files", files)
    if table.text is None:
        return
    text = table.text
    default = "\t" if re.search(r"\.tsv(\.\w+)?$", table.files[0].lower()) else ","
    if text.delimiter != default:
        yield _line(indent, "delimiter", text.delimiter)
    if not text.has_header:
        names = [column.name for column in table.columns]
        yield _line(indent, "column_names", names, "the files have no header; name the columns as you like")
    if text.encoding not in ("utf-8", "utf-16"):
        yield _line(indent, "encoding", text.encoding, "the files are not UTF-8")
    if table.missing_words:
        yield _line(indent, "missing_values", ["", *table.missing_words], "they stand where other rows have numbers")
    if not text.quoted:
        yield _line(indent, "quoted", False, "double quotes do not enclose fields")


def _alternatives(findings: Findings, task: str) -> Iterator[str]:
    label = findings.name("label")
    if task != "rating" or label is None:
        return
    column = findings.interactions.column(label)
    low, high = column.minimum or 0.0, column.maximum or 0.0
    if findings.name("user") and findings.name("item"):
        values = findings.interactions.frame[label].unique().sort()
        middle = _plain(values.filter(values >= low + 0.75 * (high - low))[0])
        name = _flow(label)
        yield f"  # To find items instead: task: retrieval with label: {{name: {name}, positive_from: {middle}}}."
    if findings.interactions.is_whole:
        yield _line("  ", "label_range", [_plain(low), _plain(high)], "rows outside are malformed")
    else:
        yield f"  # label_range: {_flow([_plain(low), _plain(high)])}  # in the sample; rows outside would be malformed"


def _split(findings: Findings, task: str) -> Iterator[str]:
    if "split" in findings.roles:
        name = findings.roles["split"].column
        present = findings.interactions.frame[name].drop_nulls().unique().to_list()
        by_split = {
            split: next((value for value in sorted(present) if value.lower() in names), None)
            for split, names in SPLIT_VALUES.items()
        }
        entry: dict[str, Any] = {"by": "column", "column": name}
        entry |= {split: value for split, value in by_split.items() if value != split}
        why = "; ".join(findings.roles["split"].evidence)
        yield _line("  ", "split", entry, why if by_split["eval"] else f"{why}; a share of train becomes eval")
        return
    users = findings.facts.users
    if task == "retrieval" and "time" in findings.roles:
        if users and 1 - users.below_three >= _LEAST_USERS_FOR_LAST_OUT:
            yield _line("  ", "split", {"by": "leave-last-out"}, "each user's last row is test; or by: time")
        else:
            yield _line("  ", "split", {"by": "time"}, "too few users have the three rows that leave-last-out needs")
    elif task == "retrieval":
        yield _line("  ", "split", {"by": "stratified"}, "a quarter of each user's rows is test; nothing says when")
    elif task == "click" and "time" in findings.roles:
        yield _line("  ", "split", {"by": "time"}, "the last rows are test, as a model in service predicts what comes")
    else:
        other = "time" if "time" in findings.roles else "user" if "user" in findings.roles else None
        yield _line("  ", "split", {"by": "random"}, f"or by: {other}" if other else "")


def _model(findings: Findings, task: str, has_numbers: bool) -> Iterator[str]:
    rows = findings.interactions.rows or findings.interactions.sampled_rows
    batch = min(2048, max(32, 2 ** ((rows // 20).bit_length() - 1) if rows >= 40 else 32))
    if task == "retrieval":
        by_order = "time" in findings.roles
        yield "model: {type: two_tower}" + ("  # for next items: query_encoder, docs/retrieval.md" if by_order else "")
        yield "embeddings: {dim: 64}"
        epochs = 20 if rows < 1_500_000 else 8 if rows < 10_000_000 else 3
    elif task == "rating":
        yield "model: {type: rating}  # the default; or dlrm, dcn, final_mlp, wide_deep"
        batch, epochs = min(batch, 1024), 40 if rows < 1_500_000 else 8
    else:
        kind = "dlrm" if has_numbers else "dcn"
        why = "there are numbers beside the tokens" if has_numbers else "tokens alone"
        yield f"model: {{type: {kind}}}  # {why}; or dlrm, dcn, final_mlp, wide_deep"
        yield "embeddings: {dim: 16}"
        epochs = 10 if rows < 200_000 else 3
    yield f"training: {{batch_size: {batch}, epochs: {epochs}}}"


def _line(indent: str, key: str, value: Any, comment: str = "") -> str:
    note = f"  # {_one_line(comment)}" if comment else ""
    return f"{indent}{key}: {_flow(value)}{note}"


def _flow(value: Any) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(number: float) -> int | float:
    return int(number) if float(number).is_integer() else number


def _slug(file: str) -> str:
    """A name for the experiment: the directory of a file with a common name, else the file itself."""
    *folders, name = re.split(r"[/\\]", file)
    stem = name.split(".")[0]
    common = stem.lower() in ("interactions", "ratings", "events", "data", "train", "clicks", "u", "") or "*" in stem
    plain = [folder for folder in folders if folder not in ("", ".", "..") and "*" not in folder]
    chosen = plain[-1] if common and plain else stem
    return re.sub(r"[^a-z0-9]+", "-", chosen.lower()).strip("-") or "my-data"
