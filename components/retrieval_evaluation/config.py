"""Settings of the baselines."""

from typing import Literal

from pydantic import Field

from trainer_module.frozen import Frozen

BaselineName = Literal["popularity", "item_knn", "ease"]


class BaselinesConfig(Frozen):
    """Which baselines stand beside a retrieval model.

    Attributes:
        baselines: Their names.
        k: Length of their lists.
        neighbours: Of item kNN.
        regularization: Lambda of EASE.
        max_items: Item kNN and EASE keep a dense matrix of items x items, at 20,000 items 1.6 GB in float32 and 3.2 GB
            in float64; with more items they are left out and reported as such.
        head_share: Share of the catalog, by training rows, that counts as its head.
    """

    baselines: tuple[BaselineName, ...] = ("popularity", "item_knn", "ease")
    k: int = Field(default=10, ge=1)
    neighbours: int = Field(default=100, ge=1)
    regularization: float = Field(default=200.0, gt=0)
    max_items: int = Field(default=20_000, ge=1)
    head_share: float = Field(default=0.2, gt=0, lt=1)
