"""The splits that only retrieval has: `candidates`, one example per item, and `queries`, one per user who is tested."""

import numpy as np
import pyarrow as pa

from components.example_gen.conversion import as_lists
from components.example_gen.joins.attributes import ItemAttributes, UserAttributes
from components.example_gen.joins.histories import Queries, as_tokens
from components.example_gen.output.examples import Examples, Part
from components.example_gen.rows import Entities, Rows
from trainer_module.data.dataset import HISTORY, USER_ACTIVITY, Dataset
from trainer_module.data.spec import RELEVANT, SEEN, TRAIN_COUNT


class CandidateExamples:
    """Builds the examples of the split `candidates`."""

    def __init__(self, dataset: Dataset):
        """Takes the names of the features."""
        self._attributes = ItemAttributes(dataset)
        self._schema = dataset.spec().candidate_schema()

    def build(self, train_counts: np.ndarray, entities: Entities) -> Examples:
        """One example for each item that can be retrieved, in their order.

        Args:
            train_counts: Number of each item's training rows, `[items]` int64.
            entities: Gives the items.
        """
        items = np.arange(entities.num_candidates)
        columns = self._attributes.columns(items, entities)
        columns |= as_lists([(TRAIN_COUNT, pa.array(train_counts[items]))], self._schema)
        return Examples((_part(columns, self._schema),), self._schema)


class QueryExamples:
    """Builds the examples of the split `queries`."""

    def __init__(self, dataset: Dataset):
        """Takes the names of the features."""
        interactions = dataset.tables.interactions
        self._users = UserAttributes(dataset)
        self._schema = dataset.spec().query_schema()
        described = {entry.feature_name for entry in (*interactions.inputs(), *interactions.context)}
        self._context = [name for name in self._schema.names if name in described]

    def build(
        self, queries: Queries, rows: Rows | None, train_counts: np.ndarray | None, entities: Entities
    ) -> Examples:
        """One example for each query.

        Args:
            queries: Users and items are rows of `entities`.
            rows: The rows from which queries take their context, that of the user's first test row; None leaves the
                context out, as nothing is known of a request that is yet to come.
            train_counts: Number of each user's training rows, `[users]` int64; None leaves the activity out.
            entities: Gives users and items.
        """
        columns = self._users.columns(queries.user, train_counts, entities)
        names = {HISTORY: "history", SEEN: "seen", RELEVANT: "relevant"}
        columns |= {
            column: as_tokens(queries.items[source], entities.items)
            for column, source in names.items()
            if column in self._schema.names
        }
        for name in self._context:
            columns[name] = self._context_of(name, queries, rows)
        schema = self._schema
        if train_counts is None and USER_ACTIVITY in schema.names:
            schema = schema.remove(schema.get_field_index(USER_ACTIVITY))
        return Examples((_part(columns, schema),), schema)

    def _context_of(self, name: str, queries: Queries, rows: Rows | None) -> pa.Array:
        target = self._schema.field(name).type
        if rows is None:
            return pa.array([[]] * len(queries.user), target)
        values = rows.batch.column(name).take(pa.array(queries.first_test_row))
        return as_lists([(name, values)], self._schema)[name]


def _part(columns: dict[str, pa.Array], schema: pa.Schema) -> Part:
    batch = pa.RecordBatch.from_arrays(
        [columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema
    )
    return Part(batch, np.arange(batch.num_rows))
