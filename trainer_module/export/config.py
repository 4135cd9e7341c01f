"""How the trained model leaves the Trainer, as data. Free of TensorFlow."""

from typing import Literal

from pydantic import model_validator

from trainer_module.frozen import Frozen

FLOAT32_DIRECTORY = "float32"
"""Beside a quantized SavedModel, the one with float32 numbers that the Evaluator compares it with. It is not pushed."""

Route = Literal["checkpoint", "subset", "direct"]


class ExportConfig(Frozen):
    """Which way the SavedModel is made.

    Attributes:
        route: `checkpoint` restores a CPU copy without optimizer slots from the training checkpoint; `direct` saves the
            tables of the training model itself, for when no machine holds two copies; `subset` exports the lookups of
            some features, with their tables alone. `auto` takes `checkpoint` if a forecast says that the copy fits into
            memory or if tables are quantized, and `direct` otherwise.
        features: Under `subset`, the categorical columns whose embeddings are served.
        quantize: `int8` serves embedding tables, and the item vectors of a retrieval index, as int8 rows with a scale
            each. The Evaluator judges the quantized model, and reports the metrics of the float32 model beside its own.
    """

    route: Literal["auto", "checkpoint", "subset", "direct"] = "auto"
    features: tuple[str, ...] = ()
    quantize: Literal["int8"] | None = None

    @model_validator(mode="after")
    def _check(self) -> "ExportConfig":
        if self.route == "subset" and not self.features:
            raise ValueError("export.route subset needs export.features, the columns whose embeddings are to be served")
        if self.route != "subset" and self.features:
            raise ValueError(f"export.features are for export.route subset; the route is {self.route}")
        if self.route == "direct" and self.quantize:
            raise ValueError(
                "export.quantize rounds a copy of the tables, and export.route direct makes none; take auto or "
                "checkpoint"
            )
        return self
