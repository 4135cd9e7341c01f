"""What data, split, features, model and gates cannot do together is refused when the experiment is read."""

import re
import time

import pytest
import yaml

from pipeline.config import load_config
from trainer_module.errors import ConfigError

INTERACTIONS = {"files": "/shop/events.csv", "user": "customer", "item": "sku", "label": "stars", "time": "ts"}
ITEMS = {"files": "/shop/items.csv", "key": "sku", "categorical": ["brand"]}
USERS = {"files": "/shop/users.csv", "key": "customer", "categorical": ["country"]}
RATING, CLICK, RETRIEVAL = {"type": "rating"}, {"type": "dcn"}, {"type": "two_tower"}
MULTI_TASK = {"type": "multi_task", "heads": [{"label": "stars"}, {"label": "dwell", "loss": "mse"}]}
DWELL = {"labels": [{"name": "dwell", "task": "rating"}]}
TRANSFORMER = RETRIEVAL | {"query_encoder": {"type": "transformer"}}
ALL_POSITIONS = RETRIEVAL | {"query_encoder": {"type": "transformer", "positions": "all"}}
TAGS = {"name": "tags", "multivalent": True}
# Takes a key of `INTERACTIONS` away.
NONE = object()


def experiment(model: dict, interactions: dict | None = None, sections: dict | None = None, **data) -> dict:
    """An experiment with some keys of its own.

    Args:
        model: The section; its type chooses the task.
        interactions: Changes of `INTERACTIONS`.
        sections: Beside data and model.
        data: Keys of the section beside interactions.
    """
    table = {key: value for key, value in (INTERACTIONS | (interactions or {})).items() if value is not NONE}
    task = {"two_tower": "retrieval", "rating": "rating"}.get(model["type"], "click")
    return {"data": {"interactions": table, "task": task} | data, "model": model} | (sections or {})


REFUSED = {
    # Model and task.
    "two towers for ratings": (experiment(RETRIEVAL, task="rating"), "two_tower is for the task retrieval"),
    "two towers for clicks": (experiment(RETRIEVAL, task="click"), "two_tower is for the task retrieval"),
    "rating model for retrieval": (experiment(RATING, task="retrieval"), "Set model.type to two_tower"),
    "dlrm without numbers": (experiment({"type": "dlrm"}), "dlrm reads numeric columns"),
    "dlrm that ignores its numbers": (
        experiment({"type": "dlrm", "ignore": ["price"]}, {"numeric": ["price"]}),
        "dlrm reads numeric columns",
    ),
    "nothing to look up": (experiment({"type": "rating", "ignore": ["customer", "sku"]}), "none is left"),
    "a layer of no units": (experiment({"type": "rating", "mlp": [0]}), "model.mlp"),
    "a layer of a negative width": (experiment({"type": "dcn", "mlp": [-3]}), "model.mlp"),
    "an infinite temperature": (experiment({"type": "two_tower", "temperature": float("inf")}), "model.temperature"),
    # Several goals.
    "a head without a label": (experiment(MULTI_TASK), "the data has no label 'dwell'; it has stars"),
    "a label that is an input": (
        experiment(MULTI_TASK, DWELL | {"numeric": ["dwell"]}),
        "both make the feature 'dwell'",
    ),
    "a label that is an input by another name": (
        experiment(MULTI_TASK, DWELL | {"numeric": [{"name": "dwell", "feature": "seconds"}]}),
        "interactions.numeric 'dwell' is also interactions.labels, so the model would read what it predicts",
    ),
    "a split that follows a further label": (
        experiment(MULTI_TASK, DWELL, split={"key": "dwell"}),
        "split reads the column 'dwell', which is interactions.labels",
    ),
    "a further label without a task": (
        experiment(MULTI_TASK, {"labels": ["dwell"]}),
        "interactions.labels.task: this key is missing",
    ),
    "a range of clicks": (
        experiment(MULTI_TASK, {"labels": [{"name": "dwell", "task": "click", "label_range": [0, 1]}]}),
        "labels 'dwell': label_range is for task rating",
    ),
    "clicks of a rating": (
        experiment(MULTI_TASK, {"labels": [{"name": "dwell", "task": "rating", "positive_from": 3}]}),
        "labels 'dwell': positive_from makes clicks of numbers",
    ),
    "goals of a retrieval": (experiment(MULTI_TASK, DWELL, task="retrieval"), "multi_task is for the task"),
    "gates of no head": (
        experiment(MULTI_TASK, DWELL, {"evaluation": {"max_rmse": 3.0}}),
        "evaluation.max_rmse: a multi_task model has gates per head",
    ),
    "gates of an unknown head": (
        experiment(MULTI_TASK, DWELL, {"evaluation": {"heads": {"seconds": {"max_rmse": 3.0}}}}),
        "the model has no head 'seconds'; it has stars, dwell",
    ),
    "gates of another task than the head's": (
        experiment(MULTI_TASK, DWELL, {"evaluation": {"heads": {"dwell": {"min_auc": 0.5}}}}),
        "evaluation.heads.dwell.min_auc: label dwell is of task rating, which takes max_rmse, max_miscalib",
    ),
    "heads of a model without": (
        experiment(CLICK, sections={"evaluation": {"heads": {"stars": {"min_auc": 0.5}}}}),
        "only model.type multi_task has heads",
    ),
    # Roles and splits.
    "retrieval without items": (experiment(RETRIEVAL, {"item": NONE}), "interactions.user and interactions.item"),
    "retrieval without users": (experiment(RETRIEVAL, {"user": NONE}), "interactions.user and interactions.item"),
    "ratings without labels": (experiment(RATING, {"label": NONE}), "name its column in interactions.label"),
    "leave-last-out without times": (
        experiment(RATING, {"time": NONE}, split={"by": "leave-last-out"}),
        "needs interactions.time",
    ),
    "time without times": (experiment(RATING, {"time": NONE}, split="time"), "needs interactions.time"),
    "users that are not named": (experiment(CLICK, {"user": NONE}, split="user"), "needs interactions.user"),
    "stratified without users": (experiment(CLICK, {"user": NONE}, split="stratified"), "needs interactions.user"),
    "pairs without items": (experiment(CLICK, {"item": NONE}, split={"key": "pair"}), "needs interactions.item"),
    "pairs beside a column of that name": (
        experiment(CLICK, {"item": NONE, "categorical": ["pair"]}, split={"key": "pair"}),
        "needs interactions.item",
    ),
    "a fold of another dataset": (experiment(RATING, split="u1"), "u1 is a fold of movielens-100k"),
    "a split by column without its name": (experiment(RATING, split={"by": "column"}), "data.split.column: "),
    "two splits of one value": (
        experiment(RATING, split={"by": "column", "column": "fold", "train": "a", "test": "a"}),
        "data.split: train, eval and test need values of their own",
    ),
    "a value that no row can have": (
        experiment(RATING, split={"by": "column", "column": "fold", "train": " a"}),
        "' a' is no value that a row can have",
    ),
    "an empty value": (experiment(RATING, split={"by": "column", "column": "fold", "eval": ""}), "an empty one is"),
    "a split that follows the label": (
        experiment(RATING, split={"by": "column", "column": "stars"}),
        "split reads the column 'stars', which is interactions.label",
    ),
    "labels that stay together": (experiment(RATING, split={"key": "stars"}), "which is interactions.label"),
    "a model that reads the split": (
        experiment(RATING, {"categorical": ["fold"]}, split={"by": "column", "column": "fold"}),
        "'fold' is also an input of the model",
    ),
    "a fraction of leave-last-out": (
        experiment(RATING, split={"by": "leave-last-out", "test_fraction": 0.1}),
        "data.split.test_fraction: unknown key. Did you mean data.split.by? Known: by",
    ),
    "a share of one": (experiment(RATING, split={"test_fraction": 1}), "data.split.test_fraction"),
    # Histories and neighbours.
    "history without times": (experiment(RATING, {"time": NONE}, history=5), "it needs interactions.user"),
    "history without users": (experiment(CLICK, {"user": NONE}, history=5), "it needs interactions.user"),
    "neighbours without items": (experiment(CLICK, {"item": NONE}, neighbours=5), "neighbours needs interactions.user"),
    "neighbours for queries": (experiment(RETRIEVAL, neighbours=5), "neighbours holds the item's raters"),
    "history as a sequence of a model without": (
        experiment(RATING, sections={"embeddings": {"features": {"history": {"max_sequence_length": 5}}}}, history=5),
        "takes no sequences",
    ),
    "a transformer without times": (
        experiment(TRANSFORMER, {"time": NONE}),
        "query_encoder transformer reads the column history, and there is none. Name interactions.time",
    ),
    "a transformer without history": (
        experiment(TRANSFORMER, history=0),
        "reads the column history, and there is none",
    ),
    "a transformer that ignores the history": (
        experiment(TRANSFORMER | {"ignore": ["history"]}, split="leave-last-out"),
        "take history out of model.ignore",
    ),
    "heads that do not divide the width": (
        experiment(TRANSFORMER, sections={"embeddings": {"dim": 63}}, split="leave-last-out"),
        "2 heads do not divide the rows' width 63",
    ),
    "a transformer over a part of the history": (
        experiment(
            TRANSFORMER,
            sections={"embeddings": {"features": {"history": {"max_sequence_length": 5}}}},
            split="leave-last-out",
        ),
        "max_sequence_length is 5, but data.history is 50",
    ),
    "all positions of items with several ragged tokens": (
        experiment(
            ALL_POSITIONS,
            sections={"embeddings": {"features": {name: {"layout": "ragged"} for name in ("history", "name_words")}}},
            items=ITEMS | {"text": ["name"], "categorical": []},
            split="leave-last-out",
        ),
        "puts the tokens of name_words into places of each item of a history, which ragged ids do not have",
    ),
    "all positions of events with columns": (
        experiment(ALL_POSITIONS, {"categorical": ["device"]}, split="leave-last-out"),
        "device describe a row's own item",
    ),
    "no negatives at all": (experiment(RETRIEVAL | {"in_batch_negatives": False}), "leaves no negatives"),
    # Columns and files.
    "lists in CSV": (
        experiment(CLICK, {"categorical": [TAGS]}),
        "interactions.categorical 'tags' is multivalent, but a cell of CSV is no list",
    ),
    "lists in a CSV of items": (
        experiment(CLICK, items=ITEMS | {"categorical": [TAGS]}),
        "items.categorical 'tags' is multivalent",
    ),
    "lists in a CSV of users": (
        experiment(CLICK, users=USERS | {"files": "/shop/users.tsv.gz", "categorical": [TAGS]}),
        "users.categorical 'tags' is multivalent",
    ),
    "a separator that ends the cell": (
        experiment(CLICK, {"quoted": False, "categorical": [{"name": "tags", "separator": ", "}]}),
        "the separator ', ' holds the delimiter",
    ),
    "a line end as delimiter": (experiment(CLICK, {"delimiter": "\n"}), "holds the end of a line"),
    "a quote as delimiter": (experiment(CLICK, {"delimiter": '"'}), "a double quote opens a quoted field"),
    "a column that files do not have": (
        experiment(CLICK, {"column_names": ["customer", "sku", "ts"]}),
        "interactions.label 'stars' is not in interactions.column_names, 'customer', 'sku', 'ts'",
    ),
    "a split column that files do not have": (
        experiment(CLICK, {"column_names": ["customer", "sku", "ts", "stars"]}, split={"by": "column", "column": "f"}),
        "the column of split 'f' is not in interactions.column_names",
    ),
    "items without their key": (
        experiment(CLICK, items=ITEMS | {"column_names": ["brand"]}),
        "items.key 'sku' is not in items.column_names",
    ),
    "a label that the model reads": (
        experiment(RATING, {"numeric": [{"name": "stars", "feature": "given"}]}),
        "interactions.numeric 'stars' is also interactions.label",
    ),
    "one column for users and items": (experiment(RATING, {"item": "customer"}), "both make the feature"),
    "items without a key": (experiment(RATING, items={"files": "/shop/items.csv"}), "data.items.key"),
    "users without a key": (experiment(RATING, users={"files": "/shop/users.csv"}), "data.users.key"),
    "users that no row names": (experiment(CLICK, {"user": NONE}, users=USERS), "interactions.user is missing"),
    "tables in two places": (
        experiment(CLICK, items=ITEMS | {"files": "gs://shop/items.csv"}),
        "the tables lie in different places",
    ),
    "a schema that is not there": (experiment(RATING, schema_file="/shop/none.pbtxt"), "data.schema_file: there is no"),
    "a range without an end": (experiment(RATING, label_range=[1, float("nan")]), "data.label_range"),
    "clicks with a range": (experiment(CLICK, label_range=[0, 1]), "only task rating has one"),
    "ratings with a threshold": (
        experiment(RATING, {"label": {"name": "stars", "positive_from": 3}}),
        "ratings are predicted as they are",
    ),
    "a missing number that is none": (
        experiment(RATING, {"numeric": [{"name": "price", "missing": float("nan")}]}),
        "data.interactions.numeric.missing",
    ),
    # Slices.
    "slices of an unknown column": (experiment(RATING, slices=["brand"]), "slices: 'brand' is no column"),
    "slices of users that are not named": (
        experiment(CLICK, {"user": NONE}, slices=["user_activity"]),
        "slices: 'user_activity' is no column",
    ),
    "one slice twice": (experiment(RATING, slices=["sku", "sku"]), "slices: 'sku' stands twice"),
    "queries by a column of items": (
        experiment(RETRIEVAL, items=ITEMS, users=USERS, slices=["brand"]),
        "slices: 'brand' describes items, .* take columns of users or interactions: customer, country, user_activity",
    ),
    "queries by their items": (experiment(RETRIEVAL, slices=["sku"]), "slices: 'sku' describes items"),
    "queries by titles": (
        experiment(RETRIEVAL, items=ITEMS | {"title": "name"}, slices=["name"]),
        "slices: 'name' describes items",
    ),
    "queries by the context of items": (
        experiment(RETRIEVAL, items=ITEMS | {"context": ["aisle"]}, slices=["aisle"]),
        "slices: 'aisle' describes items",
    ),
    # Gates and the index.
    "the gate of clicks for ratings": (
        experiment(RATING, sections={"evaluation": {"min_auc": 0.5}}),
        "evaluation.min_auc: belongs to task click",
    ),
    "the gate of ratings for clicks": (
        experiment(CLICK, sections={"evaluation": {"max_rmse": 1}}),
        "evaluation.max_rmse: belongs to task rating",
    ),
    "cutoffs for ratings, though the default": (
        experiment(RATING, sections={"evaluation": {"cutoffs": [10]}}),
        "evaluation.cutoffs: belongs to task retrieval",
    ),
    "a cutoff of 0": (experiment(RETRIEVAL, sections={"evaluation": {"cutoffs": [0]}}), "evaluation.cutoffs.0"),
    "a cutoff beyond the lists": (
        experiment(RETRIEVAL, sections={"evaluation": {"cutoffs": [101]}}),
        "evaluation.cutoffs.0",
    ),
    "a mistyped gate": (
        experiment(RATING, sections={"evaluation": {"max_rsme": 1}}),
        "Did you mean evaluation.max_rmse",
    ),
    "an infinite gate": (experiment(RATING, sections={"evaluation": {"max_rmse": float("inf")}}), "max_rmse"),
    "an index of ratings": (
        experiment(RATING, sections={"retrieval_index": {"max_k": 200}}),
        "retrieval_index: a rating model has no items' vectors",
    ),
    "an index whose parts do not fit": (
        experiment(RETRIEVAL, sections={"retrieval_index": {"faiss": {"type": "ivf_pq", "m": 7}}}),
        "retrieval_index.faiss.m is 7, which does not divide the vectors' dimension 32",
    ),
    "a restriction that items lack": (
        experiment(RETRIEVAL, items=ITEMS, sections={"retrieval_index": {"restricts": ["brnd"]}}),
        "retrieval_index.restricts: 'brnd' is no column of candidates. Did you mean brand",
    ),
    "a query with an input of the index": (
        experiment(RETRIEVAL, users=USERS | {"categorical": ["k"]}),
        "the column 'k' describes queries",
    ),
    # Propensities.
    "propensities of ratings": (experiment(RATING, {"propensity": "p"}), "for task click; this is task rating"),
    "propensities of retrieval": (experiment(RETRIEVAL, {"propensity": "p"}), "for task click; this is task retrieval"),
    "propensities of no item": (
        experiment(CLICK, {"propensity": "p", "item": NONE}),
        "name the item's column in interactions.item",
    ),
    "propensities that the model reads": (
        experiment(CLICK, {"propensity": "p", "numeric": [{"name": "p", "feature": "again"}]}),
        "'p' has another role as well; remove one",
    ),
    "propensities and raters": (experiment(CLICK, {"propensity": "p"}, neighbours=5), "set neighbours: 0, or leave it"),
    "propensities of several goals": (
        experiment({"type": "multi_task", "heads": [{"label": "stars"}]}, {"propensity": "p"}),
        "a multi_task model may predict several",
    ),
    "propensities of an ignored item": (
        experiment(CLICK | {"ignore": ["sku"]}, {"propensity": "p"}),
        "model.ignore: sku identifies the items",
    ),
    # Tables, training, export.
    "int8 rows of the training model's own tables": (
        experiment(RATING, sections={"export": {"route": "direct", "quantize": "int8"}}),
        "export.route direct makes none; take auto or checkpoint",
    ),
    "a subset of an unknown table": (
        experiment(RATING, sections={"export": {"route": "subset", "features": ["shop"]}}),
        "export.route subset serves embeddings",
    ),
    "an unknown embedding table": (
        experiment(RATING, sections={"embeddings": {"tables": {"skus": {"dim": 8}}}}),
        "embeddings.tables: unknown name 'skus'. Did you mean sku? Known: customer, sku$",
    ),
    "tables too narrow for biases": (experiment(RATING, sections={"embeddings": {"dim": 1}}), "at least 2 wide"),
    "tables of two widths": (experiment(RATING, {"user": {"name": "customer", "dim": 3}}), "need one width"),
    "a start that is not there": (
        experiment(
            RATING, sections={"training": {"warm_start": {"checkpoint": "/none/c", "transform_graph": "/none/g"}}}
        ),
        "training.warm_start.checkpoint: /none/c is not there",
    ),
    "a vocabulary of two kinds": (
        experiment(CLICK, {"categorical": [{"name": "brand", "vocabulary": {"buckets": 5, "top_k": 5}}]}),
        "vocabulary.top_k: unknown key",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_at_once(name: str, tmp_path):
    tree, message = REFUSED[name]
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(tree))
    start = time.process_time()
    with pytest.raises(ConfigError) as error:
        load_config(file)
    assert time.process_time() - start < 1
    assert re.search(message.replace("?", r"\?"), str(error.value)), str(error.value)


@pytest.mark.parametrize(
    "tree",
    [
        experiment(RETRIEVAL, items=ITEMS, users=USERS, slices=["country", "customer"]),
        experiment(RETRIEVAL, {"context": ["device"]}, slices=["device"]),
        experiment(RETRIEVAL, {"label": NONE}, sections={"evaluation": {"cutoffs": [10, 100]}}),
        experiment(CLICK, {"item": NONE}, split="stratified"),
        experiment(CLICK, {"files": "/shop/events.jsonl", "categorical": [TAGS]}),
        experiment(CLICK, {"categorical": [{"name": "tags", "separator": ","}]}),
        experiment(
            CLICK,
            {"label": {"name": "n", "positive_from": 3, "feature": "liked"}, "weight": {"name": "n", "feature": "w"}},
        ),
        experiment(CLICK, {"column_names": ["customer", "sku", "ts", "stars", "", "device"]}, split={"key": "device"}),
        experiment(MULTI_TASK, DWELL, {"evaluation": {"heads": {"dwell": {"max_rmse": 3.0}}}}),
        # Other models do not read further labels.
        experiment(CLICK, DWELL),
        # One column, two goals.
        experiment(
            {"type": "multi_task", "mixing": "ple", "heads": [{"label": "liked"}, {"label": "stars"}]},
            {"label": {"name": "stars", "feature": "liked", "positive_from": 4}}
            | {"labels": [{"name": "stars", "task": "rating", "label_range": [1, 5]}]},
        ),
        # Retrieval does not read a label without a threshold.
        experiment(RETRIEVAL, {"numeric": [{"name": "stars", "feature": "given"}]}),
        experiment(RETRIEVAL, sections={"retrieval_index": {"restricts": ["sku"]}}),
    ],
)
def test_what_works_is_not_refused(tree, tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(tree))
    assert load_config(file).data.described().spec()
