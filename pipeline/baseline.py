"""Which earlier model a candidate is compared with, or a training starts from."""

import ml_metadata as mlmd
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import standard_artifacts
from tfx.types.channel import Channel


def latest_blessed_model() -> Resolver:
    """Finds the pipeline's last blessed model by TFX's own strategy, the one that Vertex AI knows too."""
    return Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )


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
        blessed = {
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == constants.BLESSED_VALUE
        }
        eligible = [model for model in input_dict["model"] if model.id in blessed.keys() - candidates]
        latest = sorted(eligible, key=lambda model: model.id)[-1:]
        blessings = [blessed[model.id] for model in latest]
        return {"model": latest, "model_blessing": blessings, "candidate": input_dict["candidate"]}
