"""Answers single questions on the console."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipeline.ask.predict import Predictor
from pipeline.ask.recommend import Recommendation, Recommender, print_recommendations, ranked
from pipeline.ask.requests import Given, Requests
from trainer_module.data.cells import trim
from trainer_module.errors import ConfigError, DataError
from trainer_module.models.signatures import SCORE, ranked_by


def predict_one(
    console: Console,
    version: Path,
    data_dir: Path | None,
    user: str | None,
    item: str | None,
    values: Sequence[str],
    history: str | None,
    as_json: bool,
) -> None:
    """Prints the prediction for one pair, or for one event without user and item.

    Args:
        console: Where to print.
        version: A pushed ranking model.
        data_dir: Of the raw files; None means where the model's data came from.
        user: Identifier; None where the data has no users.
        item: The same for the item.
        values: Attributes and context, `name=text` each.
        history: Items of the user, separated by commas.
        as_json: Whether to print JSON.
    """
    given = parse_given(values, history)
    # Spaces alone are a missing value, as in a file.
    user, item = trim(user or "") or None, trim(item or "") or None
    users, items = ([user] if user else []), ([item] if item else [])
    predictor = Predictor(version, data_dir, users, [*items, *(given.history or ())])
    require_known_item(predictor.requests, item, given)
    outputs = {
        name: float(values[0]) for name, values in predictor.outputs(predictor.request(users, items, given)).items()
    }
    prediction = ranked_by(outputs)
    heads = {name: value for name, value in outputs.items() if name != SCORE} if SCORE in outputs else {}
    title = predictor.requests.title(item) if item else None
    if as_json:
        answer = {"user": user, "item": item, "title": title, "prediction": prediction}
        answer |= ({"heads": heads} if heads else {}) | {"model": str(version)}
        console.print_json(json.dumps(answer))
        return
    what = ", ".join([f"user {user}"] * bool(user) + [f"item {item}{f' ({title})' if title else ''}"] * bool(item))
    note_unknown_user(console, predictor.requests, user, given)
    rates = predictor.requests.dataset.task == "rating" and not heads
    shown = f"{prediction:.2f}" if rates else f"{prediction:.4f}"
    if heads:
        shown = f"{SCORE} {shown} ({', '.join(f'{name} {value:.4f}' for name, value in heads.items())})"
    console.print(f"{what or 'this request'}: {shown}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"model: {version}", soft_wrap=True, highlight=False, markup=False)


def recommend_each(
    console: Console,
    version: Path,
    ranker: Path | None,
    data_dir: Path | None,
    users: Sequence[str],
    k: int,
    exclude_seen: bool,
    values: Iterable[str],
    history: str | None,
    as_json: bool,
) -> None:
    """Prints the best items of each of some users.

    Args:
        console: Where to print.
        version: A pushed retrieval model.
        ranker: A pushed ranking model that orders the items; None keeps the order of the retrieval model.
        data_dir: Of the raw files; None means where the models' data came from.
        users: Identifiers.
        k: Items per user.
        exclude_seen: Leave out what a user has interacted with.
        values: Attributes and context, `name=text` each.
        history: Items of the users, separated by commas.
        as_json: Whether to print JSON.
    """
    given = parse_given(values, history)
    distinct = list(dict.fromkeys(map(trim, users)))
    if "" in distinct:
        raise ConfigError("recommend: --user is empty; name a user")
    recommender = Recommender(version, data_dir, distinct, given.history or ())
    found = recommender.recommend(distinct, k, exclude_seen, given)
    by_user: dict[str, list[Recommendation]] = {user: [r for r in found if r.user == user] for user in distinct}
    if ranker:
        items = [each.item for each in found]
        predictor = Predictor(ranker, data_dir, distinct, items)
        by_user = {user: ranked(of_user, predictor) for user, of_user in by_user.items()}
    if as_json:
        answer = {"model": str(version), "ranked_by": ranker and str(ranker)}
        answer |= {"recommendations": [asdict(each) for of_user in by_user.values() for each in of_user]}
        console.print_json(json.dumps(answer))
        return
    for user, of_user in by_user.items():
        if len(by_user) > 1:
            console.print(f"user {user}", highlight=False, markup=False)
        if not recommender.requests.is_known("user", user):
            console.print(_unknown(user, given), soft_wrap=True, highlight=False, markup=False)
        print_recommendations(of_user, console)
    console.print(f"model: {version}", soft_wrap=True, highlight=False, markup=False)
    if ranker:
        console.print(f"ranked by: {ranker}", soft_wrap=True, highlight=False, markup=False)


def parse_given(values: Iterable[str], history: str | None) -> Given:
    """Options of the command line as what is given.

    Raises:
        ConfigError: A value has no `=`.
    """
    pairs = {}
    for text in values:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ConfigError(f"--value {text}: expected NAME=TEXT, as in --value country=de")
        pairs[name] = value
    items = tuple(item for item in map(trim, history.split(",")) if item) if history is not None else None
    return Given(pairs, items)


def require_known_item(requests: Requests, item: str | None, given: Given) -> None:
    """Refuses an item of which nothing is known.

    Raises:
        DataError: The items' table lacks it, and no value describes it.
    """
    if item and requests.dataset.tables.items and not requests.is_known("item", item) and not given.values:
        raise DataError(f"the data has no item {item!r}; name a known one, or describe it with --value")


def note_unknown_user(console: Console, requests: Requests, user: str | None, given: Given) -> None:
    """Says that the users' table lacks the user, and what the answer follows from."""
    if user and requests.dataset.tables.users and not requests.is_known("user", user):
        console.print(_unknown(user, given), soft_wrap=True, highlight=False, markup=False)


def _unknown(user: str, given: Given) -> str:
    said = [what for what, there in (("--value", given.values), ("--history", given.history)) if there]
    if said:
        return f"user {user!r} is not in the data; the answer follows from {' and '.join(said)}"
    return f"user {user!r} is not in the data; say more of the user with --value and --history"
