"""A dataset: its three tables, what is predicted, and the feature spec that follows."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from trainer_module.data import features
from trainer_module.data.features import Categorical, Column, ExampleWeight, FeatureSpec, Label, Table, Vocabulary
from trainer_module.data.spec import DatasetSpec, LabelSpec, Task
from trainer_module.data.tables import (
    CategoricalEntry,
    EntityTable,
    FurtherLabelEntry,
    InteractionsTable,
    KeyEntry,
    Tables,
)
from trainer_module.frozen import Frozen

HISTORY, RATED, RATERS, USER_ACTIVITY = "history", "rated", "raters", "user_activity"

# Number of steps, counted from the row's own item backwards through its history, that the row trains where every step
# is trained; each train row is the target of one step of one row. 0 for rows whose steps other rows cover, and outside
# the training split.
HISTORY_TARGETS = "history_targets"

# Weights of the rows behind the items of the history, where rows have weights.
HISTORY_WEIGHTS = "history_weights"

# The label of interactions that have none: 1 for every row.
IMPLICIT_LABEL = "interaction"

Named = Iterator[tuple[Column, str]]


class Dataset(Frozen):
    """Everything that the experiment file, or the description of a known dataset, says about data.

    Attributes:
        name: Of a known dataset; `own` for tables that an experiment file describes.
        tables: Files and columns.
        task: What the label means; see `DatasetSpec`.
        label_range: Smallest and largest rating; None accepts any number.
        slices: Columns by which evaluation breaks its metrics down; None takes the user's activity where users are
            known.
        history: Largest number of items of the user in the column `history`: the latest ones before the row or, for
            retrieval of rows without a time, any others; 0 leaves the column out.
        neighbours: Largest number of items that the user rated, and of users who rated the item, in the columns `rated`
            and `raters`; 0 leaves the columns out.
        schema_file: Curated schema, a file of the `schema` package or an absolute path; empty derives one.
        layout: Which reader adds columns that it computes from those of the files.
        directory: Of a known dataset's files, below the directory of all data; empty means `name`. Datasets that read
            the same files share it.
        license_note: Terms under which the data may be used; empty when there are none.
    """

    name: str = "own"
    tables: Tables
    task: Task
    label_range: tuple[float, float] | None = None
    slices: tuple[str, ...] | None = None
    history: int = Field(default=0, ge=0)
    neighbours: int = Field(default=0, ge=0)
    schema_file: str = ""
    layout: Literal["", "movielens-100k", "movielens"] = ""
    directory: str = ""
    license_note: str = ""

    @model_validator(mode="after")
    def _check(self) -> "Dataset":
        interactions = self.tables.interactions
        both = interactions.user is not None and interactions.item is not None
        if self.task == "retrieval" and not both:
            raise ValueError(
                "task retrieval finds items for users; name the columns interactions.user and interactions.item"
            )
        if self.task != "retrieval" and interactions.label is None:
            raise ValueError(f"task {self.task} predicts a label; name its column in interactions.label")
        if self.history and not (both and (interactions.time or self.task == "retrieval")):
            raise ValueError(
                "history is the user's earlier items, so it needs interactions.user, interactions.item and "
                "interactions.time; name them, or set history: 0 (only task retrieval takes rows without a time: the "
                "history is then the user's other items)"
            )
        if self.neighbours and not both:
            raise ValueError(
                "neighbours needs interactions.user and interactions.item; name them, or set neighbours: 0"
            )
        if self.neighbours and self.task == "retrieval":
            raise ValueError(
                "neighbours holds the item's raters, which no query knows; set neighbours: 0 for task retrieval"
            )
        if interactions.propensity:
            self._check_propensity(interactions)
        if self.task != "rating" and self.label_range is not None:
            raise ValueError(f"label_range: only task rating has one, and this is task {self.task}; leave it out")
        if self.label_range and self.label_range[0] >= self.label_range[1]:
            raise ValueError(f"label_range: {list(self.label_range)} is empty; the smaller number comes first")
        if self.task == "rating" and interactions.label and interactions.label.positive_from is not None:
            raise ValueError(
                "interactions.label.positive_from: ratings are predicted as they are; leave it out, or take task click"
            )
        self.spec()
        return self

    def _check_propensity(self, interactions: InteractionsTable) -> None:
        where = "interactions.propensity is the probability with which the row's item was shown"
        if self.task != "click":
            raise ValueError(f"{where}, for task click; this is task {self.task}. Leave it out")
        if interactions.item is None:
            raise ValueError(f"{where}; name the item's column in interactions.item, or leave it out")
        entry = interactions.propensity
        roles = (interactions.user, interactions.item, interactions.label, interactions.weight)
        others = (*roles, *interactions.labels, *interactions.inputs())
        if entry and any(other and other.name == entry.name for other in others):
            raise ValueError(f"{where}, and {entry.name!r} has another role as well; remove one of the two")
        if self.neighbours:
            raise ValueError(
                f"{where}, and other items are put in its place, whose raters no row holds; set neighbours: 0, or "
                "leave it out"
            )

    @property
    def user_key(self) -> str:
        """Feature of the user's identifier; empty where there is none."""
        return self.tables.interactions.user.feature_name if self.tables.interactions.user else ""

    @property
    def item_key(self) -> str:
        """Feature of the item's identifier; empty where there is none."""
        return self.tables.interactions.item.feature_name if self.tables.interactions.item else ""

    @property
    def label(self) -> str:
        """Name of the label column of examples."""
        label = self.tables.interactions.label
        return label.feature_name if label and self.reads_label else IMPLICIT_LABEL

    @property
    def reads_label(self) -> bool:
        """Whether labels matter; for retrieval every row is a positive example unless a threshold says otherwise."""
        label = self.tables.interactions.label
        return label is not None and (self.task != "retrieval" or label.positive_from is not None)

    @property
    def further_labels(self) -> tuple[FurtherLabelEntry, ...]:
        """Labels beside `label`; none for retrieval, where a row is a positive example by being there."""
        return () if self.task == "retrieval" else self.tables.interactions.labels

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """Features by which evaluation breaks metrics down."""
        if self.slices is None:
            return (USER_ACTIVITY,) if self.user_key else ()
        return tuple(self._feature(name) for name in self.slices)

    def spec(self) -> DatasetSpec:
        """The dataset as the pipeline sees it; computed once for equal descriptions.

        Raises:
            ValueError: Two columns take one name, a slice is unknown, or columns that share a table differ.
        """
        return _spec(self)

    def _make_spec(self) -> DatasetSpec:
        columns = list(self._columns())
        sources: dict[str, str] = {}
        for column, source in columns:
            if column.name in sources:
                raise ValueError(
                    f"{sources[column.name]} and {source} both make the feature {column.name!r}. A column has one "
                    "role, and features have distinct names: remove one entry, or rename it, as in {name: price, "
                    "feature: cost}"
                )
            sources[column.name] = source
        _check_slices(self, columns)
        items = self.tables.items
        title = items.title_feature if items else ""
        users, described = (
            [c.name for c, s in columns if s.startswith(f"{table}.") and c.kind in ("categorical", "numeric")]
            for table in ("users", "items")
        )
        events = [c.name for c, s in columns if s.startswith(("interactions.categorical", "interactions.numeric"))]
        is_retrieval = self.task == "retrieval"
        propensity = self.tables.interactions.propensity
        return DatasetSpec(
            name=self.name,
            features=FeatureSpec(
                columns=tuple(column for column, _ in columns), tables=tuple(self._embedding_tables())
            ),
            schema_file=self.schema_file,
            label_range=self.label_range or (None if self.task == "rating" else (0.0, 1.0)),
            user_key=self.user_key,
            item_key=self.item_key,
            slices=self.slice_columns,
            task=self.task,
            further_labels=tuple(
                LabelSpec(
                    name=entry.feature_name,
                    task=entry.task,
                    label_range=(0.0, 1.0) if entry.task == "click" else entry.label_range,
                )
                for entry in self.further_labels
            ),
            candidate_columns=(self.item_key, *described) if is_retrieval else (),
            propensity_key=propensity.feature_name if propensity else "",
            user_columns=(self.user_key, *users) if self.user_key else (),
            item_columns=(self.item_key, *described) if self.item_key else (),
            event_columns=tuple(events),
            history=self.history,
            title_key=title or (self.item_key if is_retrieval else ""),
            license_note=self.license_note,
        )

    def _feature(self, name: str) -> str:
        """The feature of a column that is named as in its file."""
        tables = (self.tables.interactions, self.tables.items, self.tables.users)
        return next((e.feature_name for table in tables if table for e in table.entries() if e.name == name), name)

    def _columns(self) -> Named:
        """Columns of the feature spec with their source, in the experiment file's words."""
        interactions, users, items = self.tables.interactions, self.tables.users, self.tables.items
        slices = set(self.slice_columns)
        if interactions.user:
            yield interactions.user.column(), f"interactions.user {interactions.user.name!r}"
        if users:
            yield from _attributes(users, "users", slices)
        if interactions.item:
            yield interactions.item.column(), f"interactions.item {interactions.item.name!r}"
        if items:
            yield from _attributes(items, "items", slices)
        yield from _attributes(interactions, "interactions", slices)
        if self.history and interactions.item:
            # The item's own column counts each of its tokens; the history would count one again for every later row.
            table, by_time = interactions.item.table_name, interactions.time is not None
            history = Categorical(name=HISTORY, table=table, multivalent=True, counted=False, latest_last=by_time)
            yield history, "history"
            if self.task == "retrieval" and by_time:
                yield features.Context(name=HISTORY_TARGETS, dtype="int64"), "history"
                if interactions.weight:
                    yield features.HistoryWeights(name=HISTORY_WEIGHTS), "history"
        if self.neighbours:
            for name in (RATED, RATERS):
                yield Categorical(name=name, table=name, multivalent=True), "neighbours"
        label = interactions.label
        yield Label(name=self.label), f"interactions.label {label.name!r}" if label else "the label"
        for entry in self.further_labels:
            yield Label(name=entry.feature_name, required=False), f"interactions.labels {entry.name!r}"
        if interactions.weight:
            name = interactions.weight.feature_name
            yield ExampleWeight(name=name), f"interactions.weight {interactions.weight.name!r}"
        if interactions.propensity:
            name = interactions.propensity.feature_name
            source = f"interactions.propensity {interactions.propensity.name!r}"
            yield features.Context(name=name, dtype="float32"), source
        if interactions.time:
            # Seconds since 1970, UTC; orders interactions.
            name = interactions.time.feature_name
            yield features.Context(name=name, dtype="int64"), f"interactions.time {interactions.time.name!r}"
        if items and items.title and items.title_feature == items.own_title_feature:
            yield features.Context(name=items.title_feature, required=False), f"items.title {items.title!r}"
        if USER_ACTIVITY in slices:
            yield features.Context(name=USER_ACTIVITY), "slices"

    def _every_key_counts(self, entry: KeyEntry) -> bool:
        """Whether a user or item of one row gets a row of its table: items can be found, and ratings have biases."""
        return self.task == "rating" or (self.task == "retrieval" and entry is self.tables.interactions.item)

    def _embedding_tables(self) -> Iterator[Table]:
        interactions = self.tables.interactions
        entries = [interactions.user, interactions.item, *interactions.categorical]
        for table in (self.tables.users, self.tables.items):
            entries += [*table.categorical, *table.text] if table else []
        declared: dict[str, Table] = {}
        for entry in entries:
            if entry is None:
                continue
            table = entry.embedding_table()
            if isinstance(entry, KeyEntry) and entry.vocabulary is None and self._every_key_counts(entry):
                table = table.model_copy(update={"vocabulary": Vocabulary()})
            if self.task == "retrieval" and entry is interactions.item:
                # The softmax is corrected by how often each item occurs.
                table = table.model_copy(update={"frequencies": True})
            if declared.setdefault(table.name, table) != table:
                raise ValueError(
                    f"the columns of table {table.name!r} differ in vocabulary, dim or combiner; columns that share a "
                    "table must describe it alike"
                )
        yield from declared.values()
        if self.neighbours:
            # As SVD++ normalizes them (Koren, KDD 2008); tables of their own.
            yield from (Table(name=name, combiner="sqrtn") for name in (RATED, RATERS))


@lru_cache
def _spec(dataset: Dataset) -> DatasetSpec:
    return dataset._make_spec()


def _attributes(table: EntityTable | InteractionsTable, name: str, slices: set[str]) -> Named:
    """Inputs and context columns of a table."""
    for entry in table.inputs():
        where = f"{name}.{entry.section} {entry.name!r}"
        if isinstance(entry, CategoricalEntry):
            yield entry.column(required=entry.feature_name in slices and not entry.several), where
        else:
            yield entry.column(), where
    for entry in table.context:
        yield (
            features.Context(name=entry.feature_name, required=entry.feature_name in slices),
            f"{name}.context {entry.name!r}",
        )


def _check_slices(dataset: Dataset, columns: list[tuple[Column, str]]) -> None:
    """Slices are columns of single tokens; those of retrieval describe the query, as no query knows its item."""
    single = [(c.name, source) for c, source in columns if c.dtype == "string" and not c.multivalent]
    of_items = [name for name, source in single if source.startswith(("items.", "interactions.item "))]
    sliceable = [name for name, source in single if name not in (dataset.label, USER_ACTIVITY) and source != "slices"]
    sliceable += [USER_ACTIVITY] if dataset.user_key else []
    slices = dataset.slice_columns
    if unknown := [name for name in slices if name not in sliceable]:
        raise ValueError(
            f"slices: {unknown[0]!r} is no column of single tokens that a table names; known: {', '.join(sliceable)}. "
            "Name a column that the model does not read in a table's `context`"
        )
    if dataset.task == "retrieval" and (items := [name for name in slices if name in of_items]):
        known = [name for name in sliceable if name not in of_items]
        raise ValueError(
            f"slices: {items[0]!r} describes items, and retrieval is evaluated by query, before any item is known; "
            f"take columns of users or interactions: {', '.join(known)}"
        )
    if twice := [name for name in slices if slices.count(name) > 1]:
        raise ValueError(f"slices: {twice[0]!r} stands twice; name each once")
