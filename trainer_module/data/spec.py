"""Describes a dataset: what its columns mean, apart from its rows."""

from collections.abc import Iterable
from typing import Literal

import pyarrow as pa

from trainer_module.data.features import FeatureSpec, Label
from trainer_module.frozen import Frozen

Task = Literal["rating", "click", "retrieval"]

# Splits of a retrieval dataset beside `train`, `eval` and `test`, and what they hold beside columns of its features.
CANDIDATES = "candidates"
QUERIES = "queries"
TRAIN_COUNT = "train_count"
SEEN = "seen"
RELEVANT = "relevant"


class LabelSpec(Frozen):
    """The meaning of a label.

    Attributes:
        name: Column.
        task: A number (`rating`), or 1 for a click and 0 for none (`click`).
        label_range: Smallest and largest label that a row may hold; None takes those of the training split.
    """

    name: str
    task: Literal["rating", "click"]
    label_range: tuple[float, float] | None = None


class DatasetSpec(Frozen):
    """Describes a dataset. Plain data that travels as JSON.

    Attributes:
        name: As given in `data.dataset`.
        features: Its columns and embedding tables.
        schema_file: Curated schema, a file of the `schema` package or an absolute path; empty derives one from the
            columns.
        label_range: Smallest and largest label that a row may hold; None takes those of the training split.
        user_key: Column that identifies the user; empty where rows are of no user.
        item_key: Column that identifies the item; empty where rows are of no item.
        task: What the label means: a rating, or 1 for a click and 0 for none; under `retrieval` a row is a positive
            example by being there, whatever its label.
        further_labels: Labels beside the required one, for models of several goals; an example may lack them.
        slices: Columns by which evaluation breaks its metrics down; for retrieval, columns of the user.
        candidate_columns: For retrieval, the inputs that describe the item; all others describe the query.
        propensity_key: For clicks, the column with the probability of having been shown; empty where none is known.
        user_columns: Inputs that describe the user, its key first; empty where rows are of no user.
        item_columns: The same of the item.
        event_columns: Inputs that describe the interaction itself, rather than its user or item.
        history: Largest number of the user's earlier items in the column `history`; 0 if there is no such column.
        title_key: Column that names the item to people; empty where there is none, which retrieval never has.
        license_note: Terms under which the data may be used; empty when there are none.
    """

    name: str
    features: FeatureSpec
    schema_file: str = ""
    label_range: tuple[float, float] | None = None
    user_key: str = ""
    item_key: str = ""
    slices: tuple[str, ...] = ()
    task: Task = "rating"
    further_labels: tuple[LabelSpec, ...] = ()
    candidate_columns: tuple[str, ...] = ()
    propensity_key: str = ""
    user_columns: tuple[str, ...] = ()
    item_columns: tuple[str, ...] = ()
    event_columns: tuple[str, ...] = ()
    history: int = 0
    title_key: str = ""
    license_note: str = ""

    def for_training(self) -> "DatasetSpec":
        """Drops what training does not read, so that a change of it does not train again.

        The path of a schema would also differ from machine to machine.
        """
        unread = {"schema_file": "", "slices": (), "user_columns": (), "title_key": "", "license_note": ""}
        return self.model_copy(update=unread)

    def for_evaluation(self) -> "DatasetSpec":
        """Drops what the evaluation does not read, so that a change of it does not evaluate again."""
        return self.model_copy(update={"schema_file": "", "title_key": "", "license_note": ""})

    @property
    def labels(self) -> tuple[LabelSpec, ...]:
        """All labels that a model of several goals can predict, the required one first; none for retrieval."""
        if self.task == "retrieval":
            return ()
        required = LabelSpec(name=self.features.label.name, task=self.task, label_range=self.label_range)
        return (required, *self.further_labels)

    def for_label(self, name: str) -> "DatasetSpec":
        """The dataset of one label alone, whose rows all have it.

        Args:
            name: One of `labels`.
        """
        (label,) = [label for label in self.labels if label.name == name]
        columns = tuple(column for column in self.features.columns if column.kind != "label")
        features = FeatureSpec(columns=(*columns, Label(name=name)), tables=self.features.tables)
        changes = {"features": features, "task": label.task, "label_range": label.label_range, "further_labels": ()}
        return self.model_copy(update=changes)

    @property
    def query_columns(self) -> tuple[str, ...]:
        """For retrieval, the inputs that describe the query, in declaration order."""
        return tuple(column.name for column in self.features.inputs if column.name not in self.candidate_columns)

    @property
    def row_keys(self) -> tuple[str, ...]:
        """Columns that tell test rows apart, for retrieval queries.

        User, item and label; all inputs and the label where rows are of no user or no item.
        """
        if self.task == "retrieval":
            return (self.user_key,)
        if self.user_key and self.item_key:
            return (self.user_key, self.item_key, self.features.label.name)
        return (*(column.name for column in self.features.inputs), self.features.label.name)

    def candidate_schema(self) -> pa.Schema:
        """Arrow types of the split `candidates`, one row per item of the catalog.

        Beside the candidate columns: the title, and under `TRAIN_COUNT` the item's rows in the training split.
        """
        # Where items have no title, their identifier stands for it.
        return _selected(self.features, dict.fromkeys((*self.candidate_columns, self.title_key))).append(
            pa.field(TRAIN_COUNT, pa.large_list(pa.int64()))
        )

    def query_schema(self) -> pa.Schema:
        """Arrow types of the split `queries`, one row per user with rows in the test split.

        Beside the query columns and the slices: under `SEEN` the identifiers of all items of the user's train and eval
        rows, under `RELEVANT` those of its test rows.
        """
        items = self.features.arrow_schema().field(self.item_key).type
        named = _selected(self.features, dict.fromkeys((*self.query_columns, *self.slices)))
        return named.append(pa.field(SEEN, items)).append(pa.field(RELEVANT, items))


def _selected(features: FeatureSpec, names: Iterable[str]) -> pa.Schema:
    schema = features.arrow_schema()
    return pa.schema([schema.field(name) for name in names])
