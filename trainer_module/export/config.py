"""How the trained model leaves the Trainer, as data. Free of TensorFlow."""

from typing import Literal

from pydantic import model_validator

from trainer_module.frozen import Frozen

Route = Literal["checkpoint", "subset", "direct"]


class ExportConfig(Frozen):
    """Which way the SavedModel is made.

    Attributes:
        route: `checkpoint` restores a CPU copy without optimizer slots from the training checkpoint; `direct` saves the
            tables of the training model itself, for when no machine holds two copies; `subset` exports the lookups of
            some features, with their tables alone. `auto` takes `checkpoint` if a forecast says that the copy fits into
            memory, and `direct` otherwise.
        features: Under `subset`, the categorical columns whose embeddings are served.
    """

    route: Literal["auto", "checkpoint", "subset", "direct"] = "auto"
    features: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "ExportConfig":
        if self.route == "subset" and not self.features:
            raise ValueError("export.route subset needs export.features, the columns whose embeddings are to be served")
        if self.route != "subset" and self.features:
            raise ValueError(f"export.features are for export.route subset; the route is {self.route}")
        return self
