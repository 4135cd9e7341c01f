"""Criteo's display advertising data, and generated data in the same format.

Format (Criteo's description of the Kaggle Display Advertising Challenge of 2014 and of the 1TB Click Logs): tab
separated without a header; whether the ad was clicked, 13 integers that are mostly counts, and 26 categories as
hexadecimal hashes. Any field but the label may be empty.
"""

from trainer_module.data.datasets.flat import MISSING_TOKEN
from trainer_module.data.features import Categorical, FeatureSpec, Label, Numeric, Table, Vocabulary
from trainer_module.data.spec import DatasetSpec

LABEL = "label"
NUMBERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))


def _features(min_frequency: int) -> FeatureSpec:
    """Criteo's columns; tokens that are seen less often share a row, having too few examples to learn one from."""
    return FeatureSpec(
        columns=(
            Label(name=LABEL),
            *(Numeric(name=name, required=False, transform="log1p_z_score") for name in NUMBERS),
            *(Categorical(name=name, table=name, required=False, missing_token=MISSING_TOKEN) for name in CATEGORIES),
        ),
        tables=tuple(Table(name=name, vocabulary=Vocabulary(min_frequency=min_frequency)) for name in CATEGORIES),
    )


CRITEO = DatasetSpec(
    name="criteo",
    features=_features(min_frequency=10),
    schema_file="criteo.pbtxt",
    label_range=(0.0, 1.0),
    user_key="",
    item_key="",
    slices=(),
    task="click",
    license_note="Criteo's data sets are for the uses that the terms allow which Criteo publishes with them.",
)

# Planted effects fade with the rank of a token, so that rare ones are better left together.
SYNTHETIC_CRITEO = CRITEO.model_copy(
    update={
        "name": "synthetic-criteo",
        "features": _features(min_frequency=200),
        "directory": "synthetic-criteo",
        "license_note": "",
    }
)
