"""What differs between the ways of running the pipeline; everything else is one wiring."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ml_metadata.proto import metadata_store_pb2
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.experimental import simple_artifacts

from components.example_gen.bigquery.tables_state import tables_state
from components.example_gen.config import DataConfig
from pipeline.baseline import (
    LatestBlessedModelOfOtherExamples,
    LatestDriftOfOtherExamples,
    LatestOtherBlessedModel,
)
from pipeline.beam import BeamConfig
from pipeline.config import Locations

Baseline: TypeAlias = Callable[[BaseChannel], Resolver]
"""From the candidate model's channel to what resolves the model that it is compared with, as its output `model`."""

EarlierData: TypeAlias = Callable[[BaseChannel], Resolver]
"""From the channel of this run's examples to what resolves something of other examples."""

Deployer: TypeAlias = Callable[[BaseChannel], BaseComponent]
"""From what the Pusher has pushed to the component that deploys it."""


@dataclass(frozen=True)
class Platform:
    """Where a pipeline runs, as the wiring needs to know it.

    Attributes:
        data: Directory or URI of the raw files.
        artifacts: Holds the components' outputs.
        checkpoints: Holds the states of trainings that are under way or were interrupted.
        serving: Holds one numbered directory per pushed version.
        baseline: Makes the resolver of the last blessed model.
        earlier_drift: Makes the resolver of the last output of DriftGate, as its output `drift`, from the channel of
            this run's examples; and, where it can tell, of one that let drift of these examples through, as `accepted`.
        blessed_before: Makes the resolver of the last blessed model that was trained on other examples, as its output
            `model`, from the same channel.
        beam_args: The options of a component that runs on Beam, by its id.
        tables_state: From the section `data` to a text that differs once a table was changed that a query reads
            without `@as_of`; empty where no query does.
        metadata: Of a runner that keeps its own; None where the service does.
        trainer: The component that trains.
        trainer_config: What `trainer` reads from its custom config beside what the training function does.
        deployer: Makes the component that deploys what was pushed, from the Pusher's output; None where nothing does.
    """

    data: str
    artifacts: str
    checkpoints: str
    serving: str
    baseline: Baseline
    earlier_drift: EarlierData
    blessed_before: EarlierData
    beam_args: Callable[[str], tuple[str, ...]]
    tables_state: Callable[[DataConfig], str]
    metadata: metadata_store_pb2.ConnectionConfig | None = None
    trainer: type[Trainer] = Trainer
    trainer_config: Mapping[str, Any] = field(default_factory=dict)
    deployer: Deployer | None = None


def local_platform(locations: Locations, pipeline_name: str, beam: BeamConfig) -> Platform:
    """This machine, with TFX's local runner; the section `beam` says where Beam jobs run.

    `Platform.beam_args` raises `ConfigError` for a component that is to run on Dataflow.
    """
    return Platform(
        data=str(locations.data),
        artifacts=str(locations.artifacts(pipeline_name)),
        checkpoints=str(locations.checkpoints(pipeline_name)),
        serving=str(locations.serving(pipeline_name)),
        baseline=_latest_other_blessed_model,
        earlier_drift=_latest_drift_of_other_examples,
        blessed_before=_latest_blessed_model_of_other_examples,
        beam_args=lambda component: beam.of(component).args(),
        tables_state=tables_state,
        metadata=sqlite_metadata_connection_config(str(locations.metadata)),
    )


def _latest_other_blessed_model(candidate: BaseChannel) -> Resolver:
    return Resolver(
        strategy_class=LatestOtherBlessedModel,
        candidate=candidate,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )


def _latest_drift_of_other_examples(examples: BaseChannel) -> Resolver:
    return Resolver(
        strategy_class=LatestDriftOfOtherExamples,
        examples=examples,
        drift=Channel(type=simple_artifacts.Statistics),
        accepted=Channel(type=simple_artifacts.Statistics),
    )


def _latest_blessed_model_of_other_examples(examples: BaseChannel) -> Resolver:
    return Resolver(
        strategy_class=LatestBlessedModelOfOtherExamples,
        examples=examples,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )
