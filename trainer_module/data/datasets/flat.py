"""Datasets that a user describes in the experiment file: one table, a row per example, no code."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainer_module.data.features import Categorical, Context, FeatureSpec, Label, Numeric, Table, TokenRows, Vocabulary
from trainer_module.data.spec import DatasetSpec
from trainer_module.frozen import Frozen

# What a missing token is called in vocabularies.
MISSING_TOKEN = "<missing>"


class CategoricalEntry(Frozen):
    """A column of tokens.

    Attributes:
        name: In the file.
        separator: Between the tokens of a cell that may hold several; None is one token per cell.
        multivalent: Whether a cell is a list, as Parquet has them; a separator implies it.
        table: Where the tokens are looked up; None is a table of the column's own name.
        vocabulary: Which tokens get a row of the table: a `Vocabulary`, or `HashBuckets`. By default those that the
            training split holds twice or more; all others train the row for unknown tokens.
        dim: Width of a row; None takes `embeddings.dim`.
        combiner: How several tokens' rows become one.
    """

    name: str
    separator: str | None = Field(default=None, min_length=1)
    multivalent: bool = False
    table: str | None = None
    vocabulary: TokenRows = Vocabulary(min_frequency=2)
    dim: int | None = Field(default=None, ge=1)
    combiner: Literal["mean", "sum", "sqrtn"] = "mean"

    def column(self, required: bool) -> Categorical:
        """The column of the feature spec; where one token is missing, `MISSING_TOKEN` stands for it."""
        several = self.multivalent or self.separator is not None
        return Categorical(
            name=self.name,
            table=self.table or self.name,
            multivalent=several,
            required=required,
            missing_token=None if several or required else MISSING_TOKEN,
        )

    def embedding_table(self) -> Table:
        """The table that the column declares."""
        return Table(name=self.table or self.name, dim=self.dim, combiner=self.combiner, vocabulary=self.vocabulary)


class NumericEntry(Frozen):
    """A column of numbers; see `features.Numeric`."""

    name: str
    transform: Literal["z_score", "log1p_z_score"] = "z_score"
    clip: float = Field(default=3.0, gt=0)
    missing: float = 0.0

    def column(self, required: bool) -> Numeric:
        """The column of the feature spec."""
        return Numeric(**self.model_dump(), required=required)


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class FlatDataset(Frozen):
    """What the columns of a table mean. An entry that is a name alone takes the defaults.

    Attributes:
        label: The column that is predicted.
        task: Whether the label is 1 for a click and 0 for none, or a `rating`, that is any number in a range.
        label_range: Smallest and largest rating.
        categorical: Columns of tokens.
        numeric: Columns of numbers.
        slices: Columns by whose values evaluation breaks its metrics down; every row must have one.
        schema_file: A curated schema of your own (text format of `tensorflow_metadata.proto.v0.Schema`); without one
            it is derived from the columns.
    """

    label: str
    task: Literal["click", "rating"] = "click"
    label_range: tuple[float, float] | None = None
    categorical: tuple[Annotated[CategoricalEntry, BeforeValidator(_named)], ...] = Field(min_length=1)
    numeric: tuple[Annotated[NumericEntry, BeforeValidator(_named)], ...] = ()
    slices: tuple[str, ...] = ()
    schema_file: str = ""

    @model_validator(mode="after")
    def _check(self) -> "FlatDataset":
        if (self.task == "rating") != (self.label_range is not None):
            raise ValueError(
                "label_range: task rating needs the smallest and the largest label, as in label_range: [1, 5]; task "
                "click has the labels 0 and 1 and takes none"
            )
        if self.label_range and self.label_range[0] >= self.label_range[1]:
            raise ValueError(f"label_range: {list(self.label_range)} is no range; the smaller number comes first")
        tables: dict[str, Table] = {}
        for entry in self.categorical:
            table = entry.embedding_table()
            if tables.setdefault(table.name, table) != table:
                raise ValueError(
                    f"categorical: the columns of table {table.name!r} differ in vocabulary, dim or combiner; columns "
                    "that share a table must say the same of it"
                )
        self._features()
        return self

    def spec(self) -> DatasetSpec:
        """What the pipeline knows about such a dataset."""
        return DatasetSpec(
            name="flat",
            features=self._features(),
            schema_file=str(Path(self.schema_file).absolute()) if self.schema_file else "",
            label_range=self.label_range or (0.0, 1.0),
            user_key="",
            item_key="",
            slices=self.slices,
            task=self.task,
        )

    def _features(self) -> FeatureSpec:
        inputs = [entry.column(entry.name in self.slices) for entry in (*self.categorical, *self.numeric)]
        others = [name for name in self.slices if name not in {column.name for column in inputs}]
        tables = {table.name: table for table in (entry.embedding_table() for entry in self.categorical)}
        return FeatureSpec(
            columns=(*inputs, Label(name=self.label), *(Context(name=name) for name in others)),
            tables=tuple(tables.values()),
        )
