"""Criteo's display advertising data, and generated data in the same format.

Format (Criteo's description of the Kaggle Display Advertising Challenge of 2014 and of the 1TB Click Logs): tab
separated without a header; whether the ad was clicked, 13 integers that are mostly counts, and 26 categories as
hexadecimal hashes. Any field but the label may be empty.
"""

from dataclasses import replace

from trainer_module.datasets.flat import MISSING_TOKEN
from trainer_module.datasets.spec import DatasetSpec
from trainer_module.features import Categorical, FeatureSpec, Label, Numeric, Table, Vocabulary

LABEL = "label"
NUMBERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))

CRITEO = DatasetSpec(
    name="criteo",
    features=FeatureSpec(
        columns=(
            Label(name=LABEL),
            *(Numeric(name=name, required=False, transform="log1p_z_score") for name in NUMBERS),
            *(Categorical(name=name, table=name, required=False, missing_token=MISSING_TOKEN) for name in CATEGORIES),
        ),
        # Rarer tokens share a row: they would have too few examples to learn one of their own from.
        tables=tuple(Table(name=name, vocabulary=Vocabulary(min_frequency=10)) for name in CATEGORIES),
    ),
    schema_file="criteo.pbtxt",
    label_range=(0.0, 1.0),
    user_key="",
    item_key="",
    slices=(),
    task="click",
    license_note="Criteo's data sets are for the uses that the terms allow which Criteo publishes with them.",
)

SYNTHETIC_CRITEO = replace(CRITEO, name="synthetic-criteo", directory="synthetic-criteo", license_note="")
