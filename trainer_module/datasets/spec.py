"""What the product knows about a dataset beside its rows."""

from dataclasses import dataclass

from trainer_module.features import FeatureSpec


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset as the pipeline sees it.

    Attributes:
        name: As given in `data.dataset`.
        features: Its columns and embedding tables.
        schema_file: Curated schema, a file of the `schema` package.
        rating_range: Smallest and largest rating that a row may hold.
        user_key: Column that identifies the user.
        item_key: Column that identifies the item.
        slices: Columns by which evaluation breaks its metrics down.
        license_note: Terms under which the data may be used; empty when there are none.
    """

    name: str
    features: FeatureSpec
    schema_file: str
    rating_range: tuple[float, float]
    user_key: str
    item_key: str
    slices: tuple[str, ...]
    license_note: str = ""
