"""The presets of the product."""

from pathlib import Path

from pipeline.config import experiment_tree, preset_names
from pipeline.two_stage.config import is_two_stage

# Every command takes them; two stages are for `recspan pipeline run` alone.
PRESETS_OF_ONE_MODEL = [name for name in preset_names() if not is_two_stage(experiment_tree(Path(name)))]
