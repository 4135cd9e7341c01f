"""How rows are split, as the experiment file says it. Free of numpy and Arrow."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainer_module.frozen import Frozen

# The protocol `stratified` draws with numpy's `RandomState`.
_SEEDS_OF_NUMPY = 2**32


class _Fractions(Frozen):
    """Shares that are held out.

    Attributes:
        test_fraction: Share of the rows (or keys, or users) that become `test`.
        eval_fraction: Share of the others that become `eval`.
    """

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)


class _Seeded(_Fractions):
    """Shares drawn by hash or chance.

    Attributes:
        seed: Another seed draws other rows.
    """

    seed: int = Field(default=0, ge=0, lt=2**63)


class RandomSplit(_Seeded):
    """A hash decides.

    Attributes:
        key: What is hashed. `row` is the row's place, that is file name and line; `pair` is user and item, so that
            equal pairs stay together; any other value is a column of the interactions, whose rows of equal value stay
            together. None is `pair` where users and items are known, and `row` elsewhere.
    """

    by: Literal["random"] = "random"
    key: str | None = None


class UserSplit(_Seeded):
    """A hash of the user decides, so that every user is in one split only. Fractions are shares of the users."""

    by: Literal["user"] = "user"


class StratifiedSplit(_Seeded):
    """Of each user's rows the share `test_fraction`, drawn at random, is `test`; a hash of the pair chooses `eval`."""

    by: Literal["stratified"] = "stratified"
    test_fraction: float = Field(default=0.25, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=_SEEDS_OF_NUMPY)


class TimeSplit(_Fractions):
    """The last rows in time are `test`, the last ones before them `eval`; equal times stay together."""

    by: Literal["time"] = "time"


class LeaveLastOutSplit(Frozen):
    """Each user's last row is `test` and the one before it `eval`; users with fewer than three rows are all `train`."""

    by: Literal["leave-last-out"] = "leave-last-out"


class ColumnSplit(Frozen):
    """A column says which split a row belongs to; rows of any other value are malformed.

    Attributes:
        column: Its name.
        train: What it says of rows in `train`.
        eval: The same for `eval`; None draws `eval` from the train rows by a hash of their place.
        test: The same for `test`.
        eval_fraction: Share of the train rows that become `eval` where no value of the column says so.
        seed: Of that draw.
    """

    by: Literal["column"] = "column"
    column: str = Field(min_length=1)
    train: str = "train"
    eval: str | None = "eval"
    test: str = "test"
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check(self) -> "ColumnSplit":
        values = [value for value in (self.train, self.eval, self.test) if value is not None]
        if len(set(values)) < len(values):
            raise ValueError(f"train, eval and test need values of their own, got {', '.join(map(repr, values))}")
        return self


class FoldSplit(Frozen):
    """An official fold of MovieLens 100K: fold k tests on lines 20000(k-1)+1 to 20000k of `u.data`.

    Attributes:
        by: `u1` to `u5`.
        eval_fraction: Share of the other rows that become `eval`, by a hash of user and item.
        seed: Of that hash.
    """

    by: Literal["u1", "u2", "u3", "u4", "u5"]
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def fold(self) -> int:
        """1 to 5."""
        return int(self.by[1:])


def _random_unless_named(value: Any) -> Any:
    if isinstance(value, str):
        return {"by": value}
    return {"by": "random"} | value if isinstance(value, dict) else value


SplitConfig = Annotated[
    Annotated[
        RandomSplit | UserSplit | StratifiedSplit | TimeSplit | LeaveLastOutSplit | ColumnSplit | FoldSplit,
        Field(discriminator="by"),
    ],
    BeforeValidator(_random_unless_named),
]
