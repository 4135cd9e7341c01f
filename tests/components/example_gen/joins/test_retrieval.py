"""Queries carry what evaluation slices by."""

import dataclasses

import pyarrow as pa

from components.example_gen.config import DataConfig
from components.example_gen.joins.histories import Interactions, find_queries
from components.example_gen.joins.retrieval import QueryExamples
from components.example_gen.rows import TEST, TRAIN
from tests.components.example_gen.splits.invented import make_entities, make_rows

INTERACTIONS = {"files": "a.csv", "user": "user", "item": "item", "context": ["device"], "categorical": ["shop"]}


def test_a_query_takes_context_from_the_users_first_test_row():
    config = DataConfig.model_validate({"interactions": INTERACTIONS, "task": "retrieval", "slices": ["device"]})
    rows = make_rows([0, 0, 0, 1, 1], [0, 1, 2, 0, 1], [10, 30, 20, 10, 20], split=[TRAIN, TEST, TEST, TRAIN, TEST])
    for name, values in (("device", ["tv", "pc", "app", "tv", "web"]), ("shop", ["a", "b", "c", "d", "e"])):
        column = pa.array([[value.encode()] for value in values], pa.large_list(pa.large_binary()))
        rows = dataclasses.replace(rows, batch=rows.batch.append_column(name, column))
    queries = find_queries(Interactions.of(rows), 0)
    batch = QueryExamples(config.described()).build(queries, rows, None, make_entities(2, 3)).to_batch()
    assert batch.column("device").to_pylist() == [[b"app"], [b"web"]]
    assert batch.column("shop").to_pylist() == [[b"c"], [b"e"]]
    # A request that is yet to come has no context.
    batch = QueryExamples(config.described()).build(queries, None, None, make_entities(2, 3)).to_batch()
    assert batch.column("device").to_pylist() == [[], []]
