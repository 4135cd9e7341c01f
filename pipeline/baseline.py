"""Which earlier results a run looks at: the model that a candidate is compared with or a training starts from, and what
new data are compared with.
"""

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.experimental import simple_artifacts

from components.drift.layout import ACCEPTED, EXAMPLES


def latest_blessed_model() -> Resolver:
    """Finds the pipeline's last blessed model by TFX's own strategy, the one that Vertex AI knows too."""
    return Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )


def latest_drift() -> Resolver:
    """Finds the pipeline's last output of DriftGate by a strategy that Vertex AI knows."""
    return Resolver(strategy_class=LatestArtifactStrategy, drift=Channel(type=simple_artifacts.Statistics))


class LatestOtherBlessedModel(ResolverStrategy):
    """The latest blessed model that is not the candidate itself.

    TFX's own strategy would find the candidate when a run is repeated and its Trainer is answered from the cache; the
    Evaluator's inputs would differ from the first run's, and a model would be compared with itself.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Chooses among all artifacts of the pipeline's earlier runs.

        Args:
            store: Unused by this strategy; the artifacts carry all that is needed.
            input_dict: `candidate`, the model of this run; `model` and `model_blessing`, those of all runs.

        Returns:
            `model` with at most one artifact, `model_blessing` with its blessing, and `candidate` as it came; TFX asks
            for every key that it gave.
        """
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        blessed = _blessings(input_dict["model_blessing"])
        eligible = [model for model in input_dict["model"] if model.id in blessed.keys() - candidates]
        latest = sorted(eligible, key=lambda model: model.id)[-1:]
        blessings = [blessed[model.id] for model in latest]
        return {"model": latest, "model_blessing": blessings, "candidate": input_dict["candidate"]}


class LatestDriftOfOtherExamples(ResolverStrategy):
    """The latest output of DriftGate that is not about this run's examples, and one that accepted these.

    A repeated run would else find its own output, and compare a span with itself.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Chooses among all outputs of the pipeline's earlier runs.

        Args:
            store: Unused by this strategy.
            input_dict: `examples` of this run; `drift` and `accepted`, both the outputs of all runs.

        Returns:
            `drift` with at most one artifact; `accepted` with the first output, if there is one, that let drift of this
            run's examples through (the first one, so that repeated runs find the same); and `examples` as it came.
        """
        own = {artifact.uri for artifact in input_dict["examples"]}
        in_order = sorted(input_dict["drift"], key=lambda each: each.id)
        others = [each for each in in_order if each.get_string_custom_property(EXAMPLES) not in own]
        accepted = [each for each in in_order if each not in others and each.get_int_custom_property(ACCEPTED)]
        return {"drift": others[-1:], "accepted": accepted[:1], "examples": input_dict["examples"]}


class LatestBlessedModelOfOtherExamples(ResolverStrategy):
    """The latest blessed model that was not trained on this run's examples."""

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Chooses among all models of the pipeline's earlier runs.

        Args:
            store: Knows which examples were read to make a model.
            input_dict: `examples` of this run; `model` and `model_blessing`, those of all runs.

        Returns:
            `model` with at most one artifact, `model_blessing` with its blessing, and `examples` as it came.
        """
        own = {artifact.id for artifact in input_dict["examples"]}
        blessed = _blessings(input_dict["model_blessing"])
        candidates = sorted((each for each in input_dict["model"] if each.id in blessed), key=lambda each: -each.id)
        found = next((each for each in candidates if not own & _inputs_of_producer(store, each.id)), None)
        latest = [found] if found else []
        blessings = [blessed[model.id] for model in latest]
        return {"model": latest, "model_blessing": blessings, "examples": input_dict["examples"]}


def _blessings(blessings: list[types.Artifact]) -> dict[int, types.Artifact]:
    """Those that bless, by the number of their model."""
    return {
        blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
        for blessing in blessings
        if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == constants.BLESSED_VALUE
    }


def _inputs_of_producer(store: mlmd.MetadataStore, artifact: int) -> set[int]:
    """Artifacts that the execution read which made an artifact."""
    event = metadata_store_pb2.Event
    made = [each for each in store.get_events_by_artifact_ids([artifact]) if each.type == event.OUTPUT]
    read = store.get_events_by_execution_ids([each.execution_id for each in made])
    return {each.artifact_id for each in read if each.type == event.INPUT}
