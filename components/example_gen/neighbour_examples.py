"""Examples of ratings with what the user rated and who rated the item."""

import numpy as np
import pyarrow as pa

from components.example_gen.catalog import Catalog
from components.example_gen.examples import ExampleBuilder, Examples
from components.example_gen.neighbours import RATED, RATERS, Neighbours
from trainer_module.data.spec import DatasetSpec


class NeighbourExampleBuilder:
    """Turns rows and neighbours into examples."""

    def __init__(self, dataset: DatasetSpec, catalog: Catalog):
        """Converts the attributes once.

        Args:
            dataset: With the columns `rated` and `raters`.
            catalog: Users and items.

        Raises:
            ConfigError: The feature spec has a column that this layout cannot fill.
        """
        self._tokens = {
            name: table["id"].combine_chunks() for name, table in ((RATED, catalog.items), (RATERS, catalog.users))
        }
        self._rows = ExampleBuilder(dataset, catalog, own=[RATED, RATERS])

    def build(self, rows: pa.RecordBatch, neighbours: Neighbours, length: int, train_ratings: np.ndarray) -> Examples:
        """Builds the examples of a block of rows.

        Args:
            rows: Under `catalog.ROWS_SCHEMA`.
            neighbours: Of the catalog's users and items.
            length: Of the lists, at most.
            train_ratings: Number of each user's rows in the training split, `[users]` int64.
        """
        user, item = (rows.column(name).to_numpy() for name in ("user", "item"))
        own = {
            name: pa.LargeListArray.from_arrays(lists.offsets, self._tokens[name].take(lists.values))
            for name, lists in neighbours.columns(user, item, length).items()
        }
        return self._rows.build(rows, train_ratings, own)
