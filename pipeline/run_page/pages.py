"""How the components of a pipeline write the pages of its runs, on a service and where a runner adds to them."""

import json
from collections.abc import Sequence
from typing import Any

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from components.run_report.refusal import PageSettings
from components.run_report.render import templates_hash
from pipeline.config import PipelineConfig
from pipeline.platforms import Platform
from pipeline.run_page import added
from trainer_module.source_hash import source_hash


class Pages:
    """Arguments of components that write pages.

    A service starts no component after one that refuses its input, so each of those writes the page of the stopped run
    itself. A runner of this machine writes that page and adds to the others what components cannot know.
    """

    def __init__(self, config: PipelineConfig, platform: Platform, only_training: bool):
        """Takes what all pages of a pipeline have in common.

        Args:
            config: The experiment.
            platform: Where the pipeline runs.
            only_training: Whether it is the pipeline of a trial, which has no page.
        """
        self._config, self._data = config, platform.data
        self._on_service = platform.metadata is None
        self._has_pages = not only_training
        # No container has the path of a schema of this machine.
        self._dataset = config.dataset.model_copy(update={"schema_file": ""})

    def of_refusal(
        self, component: str, before: Sequence[BaseNode], after: BaseNode, **inputs: BaseChannel | None
    ) -> dict[str, Any]:
        """Arguments by which a component writes the page of a run that it stops; empty where the runner does.

        Args:
            component: Its id.
            before: The pipeline's components up to it.
            after: The last of them that it waits for.
            inputs: What the page shows beside the component's own inputs, by argument.
        """
        if not (self._on_service and self._has_pages):
            return {}
        settings = PageSettings(
            title=self._config.pipeline_name,
            dataset=self._dataset,
            # Another text about the model must not push it again.
            experiment=self._config.without_local_paths().for_push().model_dump_json(),
            data_dir=self._data,
            upstream=_upstream(before) | {component: (after.id,)},
        )
        given = {name: channel for name, channel in inputs.items() if channel is not None}
        return {"page": settings.model_dump_json(), **given}

    def of_report(self, before: Sequence[BaseNode]) -> dict[str, str]:
        """Parameters of RunReport.

        Args:
            before: The pipeline's components up to it.
        """
        return {
            "title": self._config.pipeline_name,
            "dataset": self._dataset.model_dump_json(),
            "model_card": self._config.model_card.model_dump_json(),
            "added": f"{added.__name__}.{added.sections.__name__}",
            "added_settings": added.Settings.of(self._config).model_dump_json(),
            "upstream": json.dumps(_upstream(before)) if self._on_service else "",
            "source_hash": source_hash("components.run_report.component", added.__name__) + templates_hash(),
        }


def _upstream(components: Sequence[BaseNode]) -> dict[str, tuple[str, ...]]:
    """What each component waits for; resolvers are no tasks that take time."""
    return {each.id: tuple(sorted(_waits_for(each))) for each in components if isinstance(each, BaseComponent)}


def _waits_for(component: BaseNode) -> set[str]:
    producers = {channel.producer_component_id for channel in component.inputs.values()}
    return producers | {node.id for node in component.upstream_nodes}
