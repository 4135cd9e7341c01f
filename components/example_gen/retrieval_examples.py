"""Examples of retrieval datasets: rows with histories, and the splits `candidates` and `queries`."""

import numpy as np
import pyarrow as pa

from components.example_gen.catalog import Catalog
from components.example_gen.examples import ExampleBuilder, Examples, Part, activity, as_lists
from components.example_gen.interactions import Queries
from trainer_module.data.spec import RELEVANT, SEEN, TRAIN_COUNT, DatasetSpec

HISTORY = "history"


class RetrievalExampleBuilder:
    """Turns interactions, items and queries into examples."""

    def __init__(self, dataset: DatasetSpec, catalog: Catalog):
        """Converts the attributes once.

        Args:
            dataset: Of the task retrieval.
            catalog: Users and items.

        Raises:
            ConfigError: The feature spec has a column that this layout cannot fill.
        """
        self._dataset = dataset
        self._item_ids = catalog.items["id"].combine_chunks()
        self._rows = ExampleBuilder(dataset, catalog, own=[HISTORY])

    def build(self, rows: pa.RecordBatch, histories: pa.LargeListArray, train_ratings: np.ndarray) -> Examples:
        """Builds the examples of a block of rows.

        Args:
            rows: Under `catalog.ROWS_SCHEMA`.
            histories: Of each row, rows of the catalog's items.
            train_ratings: Number of each user's rows in the training split, `[users]` int64.
        """
        return self._rows.build(rows, train_ratings, {HISTORY: self._tokens(histories)})

    def candidates(self, train_counts: np.ndarray) -> Examples:
        """Builds one example for each item of the catalog, in its order.

        Args:
            train_counts: Number of each item's rows in the training split, `[items]` int64.
        """
        schema = self._dataset.candidate_schema()
        columns = _named(self._rows.by_item, schema) | as_lists({TRAIN_COUNT: pa.array(train_counts)}, schema)
        return _examples(columns, schema)

    def queries(self, queries: Queries, train_ratings: np.ndarray) -> Examples:
        """Builds one example for each query.

        Args:
            queries: Their users are rows of the catalog's users, their items of its items.
            train_ratings: Number of each user's rows in the training split, `[users]` int64.
        """
        schema = self._dataset.query_schema()
        by_user = _named(self._rows.by_user, schema)
        columns = {name: values.take(pa.array(queries.user)) for name, values in by_user.items()}
        own = {
            "timestamp": pa.array(queries.timestamp),
            "user_activity": activity(train_ratings[queries.user]),
            HISTORY: self._tokens(queries.items["history"]),
            SEEN: self._tokens(queries.items["seen"]),
            RELEVANT: self._tokens(queries.items["relevant"]),
        }
        return _examples(columns | as_lists(own, schema), schema)

    def _tokens(self, items: pa.LargeListArray) -> pa.LargeListArray:
        return pa.LargeListArray.from_arrays(items.offsets, self._item_ids.take(items.values))


def _named(columns: dict[str, pa.Array], schema: pa.Schema) -> dict[str, pa.Array]:
    return {name: columns[name] for name in columns.keys() & set(schema.names)}


def _examples(columns: dict[str, pa.Array], schema: pa.Schema) -> Examples:
    batch = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
    return Examples((Part(batch, np.arange(batch.num_rows)),), schema)
