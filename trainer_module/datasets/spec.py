"""What the product knows about a dataset beside its rows."""

from dataclasses import dataclass
from typing import Literal

from trainer_module.features import FeatureSpec

Task = Literal["rating", "click"]


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset as the pipeline sees it.

    Attributes:
        name: As given in `data.dataset`.
        features: Its columns and embedding tables.
        schema_file: Curated schema, a file of the `schema` package.
        label_range: Smallest and largest label that a row may hold.
        user_key: Column that identifies the user.
        item_key: Column that identifies the item.
        task: What the label means: a rating, or 1 for a click and 0 for none.
        slices: Columns by which evaluation breaks its metrics down.
        license_note: Terms under which the data may be used; empty when there are none.
    """

    name: str
    features: FeatureSpec
    schema_file: str
    label_range: tuple[float, float]
    user_key: str
    item_key: str
    slices: tuple[str, ...]
    task: Task = "rating"
    license_note: str = ""
