"""Explains single answers of pushed models on the console."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.retrieval_index.exact import IDS, SCORES
from pipeline.ask.answers import note_unknown_user, parse_given, require_known_item
from pipeline.ask.leave_one_out import Contribution, Explanation, leave_one_out
from pipeline.ask.neighbours import neighbours
from pipeline.ask.predict import Predictor
from pipeline.ask.recommend import IndexModel, Recommender, retrieval_data
from pipeline.ask.requests import Given, Requests
from pipeline.ask.versions import data_config, read_summary
from trainer_module.data.cells import trim
from trainer_module.data.dataset import HISTORY, RATED, Dataset
from trainer_module.errors import ConfigError, DataError
from trainer_module.models.signatures import SCORE, ranked_by

# More than any catalog holds; a search returns all items then.
_ALL_ITEMS = 2**31 - 1


def explain_one(
    console: Console,
    version: Path,
    data_dir: Path | None,
    user: str | None,
    item: str | None,
    values: Sequence[str],
    history: str | None,
    top: int,
    as_json: bool,
) -> None:
    """Prints what each value adds to the prediction for a pair, or to an item's score in a retrieval model.

    Args:
        console: Where to print.
        version: A pushed version.
        data_dir: Of the raw files; None means where the model's data came from.
        user: Identifier; None where the data has no users.
        item: The same for the item.
        values: Attributes and context, `name=text` each.
        history: Items of the user, separated by commas.
        top: Number of values that are shown.
        as_json: Whether to print JSON.

    Raises:
        ConfigError: User or item is missing.
        DataError: The data, or the catalog of a retrieval model, has no such item.
    """
    given = parse_given(values, history)
    user, item = trim(user or "") or None, trim(item or "") or None
    retrieves = data_config(read_summary(version)).described().task == "retrieval"
    explained = _score_of_item if retrieves else _prediction
    requests, explanation = explained(version, data_dir, user, item, given)
    # Many models do not read every column of their data.
    effective = [each for each in explanation.contributions if each.amount or any(each.heads.values())]
    shown = effective[:top]
    if as_json:
        answer: dict[str, Any] = {"user": user, "item": item, "score": explanation.score}
        answer |= {"heads": dict(explanation.heads)} if explanation.heads else {}
        answer |= {"without_any": explanation.without_any, "adds_up": explanation.adds_up}
        answer |= {"contributions": [_as_json(each) for each in shown], "model": str(version)}
        console.print_json(json.dumps(answer))
        return
    note_unknown_user(console, requests, user, given)
    heads = f" ({', '.join(f'{head} {value:.4f}' for head, value in explanation.heads.items())})"
    console.print(
        f"score {explanation.score:.4f}{heads if explanation.heads else ''}; {explanation.without_any:.4f} without any "
        "value. A value adds the score minus the score without it:",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    if not shown:
        console.print("no value of this request changes the answer", highlight=False)
    else:
        console.print(_table(shown, requests))
    if len(effective) > 1:
        console.print(_sum(explanation), soft_wrap=True, highlight=False)
    if left := len(effective) - len(shown):
        console.print(f"{left} values with smaller contributions are not shown; -n shows more", highlight=False)
    console.print(f"model: {version}", soft_wrap=True, highlight=False, markup=False)


def _as_json(contribution: Contribution) -> dict[str, Any]:
    content = asdict(contribution)
    return content if contribution.heads else {name: value for name, value in content.items() if name != "heads"}


def _table(shown: Sequence[Contribution], requests: Requests) -> Table:
    table = Table(box=SIMPLE_HEAD)
    heads = list(shown[0].heads)
    for name in ("adds", *map(escape, heads)):
        table.add_column(name, justify="right")
    for name in ("column", "value"):
        table.add_column(name)
    for each in shown:
        title = requests.title(each.value) if each.column in _item_columns(requests.dataset) else None
        amounts = [f"{amount:+.4f}" for amount in (each.amount, *each.heads.values())]
        table.add_row(*amounts, escape(each.column), escape(f"{each.value} ({title})" if title else each.value))
    return table


def _sum(explanation: Explanation) -> str:
    """Says whether values act on their own."""
    whole = explanation.score - explanation.without_any
    if explanation.adds_up:
        return f"the values add up to {whole:+.4f}, what they add together: each acts on its own"
    return f"one by one the values add {explanation.together:+.4f}, together {whole:+.4f}: they act together"


def list_neighbours(console: Console, version: Path, data_dir: Path | None, item: str, k: int, as_json: bool) -> None:
    """Prints the nearest items of an item.

    Args:
        console: Where to print.
        version: A pushed retrieval model.
        data_dir: Of the raw files, for titles; None means where the model's data came from.
        item: Identifier.
        k: Number of items.
        as_json: Whether to print JSON.
    """
    found = neighbours(version, trim(item), k)
    requests = Requests(*retrieval_data(version, data_dir))
    title = requests.title(item)
    rows = [asdict(each) | {"title": requests.title(each.item)} for each in found]
    if as_json:
        console.print_json(json.dumps({"item": item, "title": title, "neighbours": rows, "model": str(version)}))
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("rank", "item", "title", "score"):
        table.add_column(column, justify="left" if column == "title" else "right")
    for rank, row in enumerate(rows, start=1):
        table.add_row(str(rank), escape(row["item"]), escape(row["title"] or ""), f"{row['score']:.4f}")
    console.print(f"nearest to {item}{f' ({title})' if title else ''}", soft_wrap=True, highlight=False, markup=False)
    console.print(table)
    console.print(f"model: {version}", soft_wrap=True, highlight=False, markup=False)


def _prediction(
    version: Path, data_dir: Path | None, user: str | None, item: str | None, given: Given
) -> tuple[Requests, Explanation]:
    users, items = ([user] if user else []), ([item] if item else [])
    predictor = Predictor(version, data_dir, users, [*items, *(given.history or ())])
    require_known_item(predictor.requests, item, given)
    row = predictor.request(users, items, given)

    def ask(pairs: pa.RecordBatch) -> dict[str, np.ndarray]:
        outputs = predictor.outputs(pairs)
        # A model of one goal has no score beside its only prediction.
        return outputs if SCORE in outputs else {SCORE: ranked_by(outputs)}

    return predictor.requests, leave_one_out(row, row.schema.names, ask)


def _score_of_item(
    version: Path, data_dir: Path | None, user: str | None, item: str | None, given: Given
) -> tuple[Requests, Explanation]:
    if user is None or item is None:
        raise ConfigError("explain: a retrieval model scores an item for a user; name both with --user and --item")
    recommender = Recommender(version, data_dir, [user], [item, *(given.history or ())])
    model = IndexModel(version)

    def ask(queries: pa.RecordBatch) -> dict[str, np.ndarray]:
        found = model.find(queries, _ALL_ITEMS, exclude_seen=False)
        is_item = found[IDS] == item.encode()
        if not is_item.any(axis=1).all():
            raise DataError(f"the catalog of {version} has no item {item!r}")
        return {SCORE: found[SCORES][is_item]}

    spec = recommender.requests.dataset.spec()
    row = recommender.requests.queries([user], given)
    return recommender.requests, leave_one_out(row, [c for c in spec.query_columns if c in row.schema.names], ask)


def _item_columns(dataset: Dataset) -> tuple[str, ...]:
    """Columns whose values are identifiers of items."""
    return (dataset.item_key, HISTORY, RATED)
