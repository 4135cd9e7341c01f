"""Initial values of embedding tables, as data. Free of TensorFlow."""

from typing import Annotated, Literal

from pydantic import Field

from trainer_module.frozen import Frozen


class TruncatedNormal(Frozen):
    """Normal around 0, redrawn beyond two standard deviations.

    Attributes:
        stddev: Standard deviation.
    """

    name: Literal["truncated_normal"] = "truncated_normal"
    stddev: float = Field(gt=0)


class Uniform(Frozen):
    """Uniform between `-limit` and `limit`.

    Attributes:
        limit: Largest absolute value.
    """

    name: Literal["uniform"] = "uniform"
    limit: float = Field(gt=0)


class UniformByRows(Frozen):
    """Uniform within `1 / sqrt(rows)`, as DLRM initializes its tables (Naumov et al., 2019)."""

    name: Literal["uniform_by_rows"] = "uniform_by_rows"


class Constant(Frozen):
    """The same value everywhere.

    Attributes:
        value: That value.
    """

    name: Literal["constant"] = "constant"
    value: float


Initializer = Annotated[TruncatedNormal | Uniform | UniformByRows | Constant, Field(discriminator="name")]
