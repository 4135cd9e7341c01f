"""Generated clicks and reading times, which share what they depend on; see `components.example_gen.generated.goals`."""

from trainer_module.data.dataset import Dataset

CLICKED, SECONDS = "clicked", "seconds"
FILE = "views.csv"

SYNTHETIC_GOALS = Dataset.model_validate(
    {
        "name": "synthetic-goals",
        "task": "click",
        "slices": ("device",),
        "tables": {
            "interactions": {
                "files": FILE,
                "user": "user",
                "item": "item",
                "label": CLICKED,
                "labels": [{"name": SECONDS, "task": "rating"}],
                "categorical": ["device"],
            }
        },
    }
)

DATASETS = (SYNTHETIC_GOALS,)
