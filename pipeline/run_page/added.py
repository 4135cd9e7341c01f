"""The sections of a page that follow from the experiment and the vocabularies; RunReport calls them by name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components.run_report.page import Section
from pipeline.config import PipelineConfig
from pipeline.planning.experiment_tables import workload_of
from pipeline.planning.plan import Workload
from pipeline.run_page.placement import placement
from pipeline.vertex.config import TrainerMachine
from trainer_module.frozen import Frozen


class Settings(Frozen):
    """What the summary of a run does not tell.

    Attributes:
        workload: Tables, features and batch size; the numbers of the tables' rows are those of the run.
        trainer: The machine that trains on Vertex AI; None for any other.
    """

    workload: Workload
    trainer: TrainerMachine | None

    @classmethod
    def of(cls, config: PipelineConfig) -> "Settings":
        """The settings of an experiment."""
        spec = config.embeddings.applied_to(config.experiment.features(config.dataset.features))
        return cls(
            workload=workload_of(config, spec, {table.name: 0 for table in spec.tables}),
            trainer=config.vertex.trainer if config.vertex else None,
        )


def sections(summary: Mapping[str, Any], settings: str) -> list[tuple[Section, str]]:
    """Sections, each with the id of the one that it precedes.

    Args:
        summary: The Pusher's.
        settings: `Settings` as JSON.
    """
    given = Settings.model_validate_json(settings)
    rows = summary["training"]["table_rows"]
    tables = tuple(replace(table, rows=rows[table.name]) for table in given.workload.tables)
    section = placement(replace(given.workload, tables=tables), given.trainer)
    return [] if section is None else [(section, "data")]
