"""Criteo's display advertising data, and generated data in the same format.

Format (Criteo's description of the Kaggle Display Advertising Challenge of 2014 and of the 1TB Click Logs): tab
separated without a header; whether the ad was clicked, 13 integers that are mostly counts, and 26 categories as
hexadecimal hashes. Any field but the label may be empty.
"""

from trainer_module.data.dataset import Dataset

LABEL = "label"
NUMBERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))

# The Kaggle challenge's one file, or the days of the 1TB logs.
FILES = ("train.txt", "train.txt.gz", "day_*")
FILES_BY_DAY = ("day_{SPAN}", "day_{SPAN}.gz")


def _dataset(name: str, min_frequency: int, license_note: str) -> Dataset:
    """Criteo's columns; tokens that are seen less often share a row, having too few examples to learn one from."""
    return Dataset.model_validate(
        {
            "name": name,
            "task": "click",
            "slices": (),
            "schema_file": "criteo.pbtxt",
            "license_note": license_note,
            "tables": {
                "interactions": {
                    "files": FILES,
                    "alternatives": True,
                    "delimiter": "\t",
                    "quoted": False,
                    "column_names": (LABEL, *NUMBERS, *CATEGORIES),
                    "label": LABEL,
                    "numeric": [{"name": column, "transform": "log1p_z_score"} for column in NUMBERS],
                    "categorical": [
                        {"name": column, "vocabulary": {"min_frequency": min_frequency}} for column in CATEGORIES
                    ],
                }
            },
        }
    )


CRITEO = _dataset(
    "criteo",
    min_frequency=10,
    license_note="Criteo's data sets are for the uses that the terms allow which Criteo publishes with them.",
)

# Planted effects fade with the rank of a token, so that rare ones are better left together.
SYNTHETIC_CRITEO = _dataset("synthetic-criteo", min_frequency=200, license_note="")

DATASETS = (CRITEO, SYNTHETIC_CRITEO)
