"""Generated clicks that arrive day by day; see `components.example_gen.generated.days`."""

from trainer_module.data.dataset import Dataset

CLICKED = "clicked"
FILES = "{YYYY}-{MM}-{DD}.csv"

SYNTHETIC_DAYS = Dataset.model_validate(
    {
        "name": "synthetic-days",
        "task": "click",
        "slices": ("device",),
        "tables": {
            "interactions": {
                "files": FILES,
                "user": "user",
                "item": "item",
                "label": CLICKED,
                "categorical": ["country", "device"],
                "numeric": ["price"],
            }
        },
    }
)

DATASETS = (SYNTHETIC_DAYS,)
