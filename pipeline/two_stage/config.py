"""An experiment of two stages: a file whose section `model` names a retrieval and a ranking model.

The other sections of the file hold for both models. Free of TensorFlow, so that it is refused as soon as it is read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from components.example_gen.config import DataConfig
from pipeline.config import PipelineConfig, check_name, settings_from
from trainer_module.data.dataset import Dataset
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen

TWO_STAGE = "two_stage"
ITEMS = "items"
"""Key of a version's facts under `TWO_STAGE`: how many items its first stage chooses from."""
RETRIEVAL, RANKING = "retrieval", "ranking"

# What a stage may say about the data. All else is shared, so that no model is trained on the rows that judge the other.
_OWN_DATA = ("task", "history", "label_range", "slices")


class TwoStageOptions(Frozen):
    """How two models become one.

    Attributes:
        candidates: Number of items that the first stage finds for each query, and the second ranks.
        k: Length of the lists by which the whole is judged.
        search: How candidates are found: `exact` scores all items, `approximate` those in the nearest cells of the
            retrieval model's FAISS index, which must be of type `ivf`.
        retrieval_weight: Weight of the retrieval score in the final score, to which the ranking score is added.
    """

    candidates: int = Field(default=100, ge=1)
    k: int = Field(default=10, ge=1, le=100)
    search: Literal["exact", "approximate"] = "exact"
    retrieval_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _check_lengths(self):
        if self.k > self.candidates:
            raise ValueError(f"k {self.k}: lists cannot be longer than the {self.candidates} candidates; lower it")
        return self


class TwoStageModel(TwoStageOptions):
    """A retrieval and a ranking model, trained on the same data and pushed as one.

    Attributes:
        retrieval: The first stage: sections of an experiment, laid over those of the file. Or a model that is there
            already: the directory of a pushed version, or the name of the run that pushed it.
        ranking: The second stage, likewise.
    """

    type: Literal["two_stage"] = TWO_STAGE
    retrieval: dict | str
    ranking: dict | str


@dataclass(frozen=True)
class TwoStageConfig:
    """A checked experiment of two stages.

    Attributes:
        name: Of the whole; the stages are pipelines called NAME-retrieval and NAME-ranking.
        model: The section `model`.
        stages: By `RETRIEVAL` and `RANKING`: the experiment of each, or the model that is there already.
    """

    name: str
    model: TwoStageModel
    stages: Mapping[str, PipelineConfig | str]


def is_two_stage(tree: Mapping[str, Any]) -> bool:
    """Whether an experiment, as it is written, has two stages."""
    model = tree.get("model")
    return isinstance(model, Mapping) and model.get("type") == TWO_STAGE


def two_stage_config(tree: Mapping[str, Any], where: str = "") -> TwoStageConfig:
    """Checks an experiment of two stages.

    Args:
        tree: Keys and values, as `pipeline.config.experiment_tree` gives them.
        where: Begins every line of an error.

    Raises:
        ConfigError: A key is unknown, a value is wrong, or the stages do not fit together.
    """
    model = settings_from(_File, {"model": tree["model"]}, where).model
    if tree.get("name"):
        check_name(f"{tree['name']}-{RETRIEVAL}", f"{where}name")
    trees = {stage: stage_tree(tree, stage) for stage in (RETRIEVAL, RANKING)}
    if all(isinstance(each, str) for each in trees.values()) and (idle := sorted(tree.keys() - {"name", "model"})):
        raise ConfigError(f"{where}both stages are there already, so {', '.join(idle)} would change nothing; leave out")
    stages = _checked_stages(tree, trees, where)
    name = tree.get("name") or _default_name(stages)
    try:
        _check_together(model, stages)
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from None
    return TwoStageConfig(name, model, stages)


def stage_tree(tree: Mapping[str, Any], stage: str) -> dict[str, Any] | str:
    """The experiment of one stage, as it would be written in a file of its own; a text if its model is there already.

    Raises:
        ConfigError: The stage describes data of its own.
    """
    own = tree["model"][stage]
    if not isinstance(own, Mapping):
        return own
    own_data = own.get("data", {})
    if isinstance(own_data, Mapping) and (unlike := sorted(own_data.keys() - set(_OWN_DATA))):
        raise ConfigError(
            f"model.{stage}.data.{unlike[0]}: both stages read the same rows, split alike, or one would be trained on "
            f"those that judge the other; write it into the section data. A stage may have {', '.join(_OWN_DATA)}"
        )
    shared = {name: section for name, section in tree.items() if name not in ("name", "model")}
    if stage == RETRIEVAL:
        shared = _laid_over(shared, {"data": {"task": "retrieval"}, "model": {"type": "two_tower"}})
    name = {"name": f"{tree['name']}-{stage}"} if tree.get("name") else {}
    laid = _laid_over(shared, own) | name
    if stage == RETRIEVAL and isinstance(laid["data"], Mapping) and laid["data"]["task"] == "retrieval":
        # With positive_from, retrieval has fewer rows; all of them are split as those of the ranking model are.
        laid = _laid_over(laid, {"data": {"split_all_rows": True}})
    return laid


class _File(Frozen):
    model: TwoStageModel


def _checked_stages(
    tree: Mapping[str, Any], trees: Mapping[str, dict[str, Any] | str], where: str
) -> dict[str, PipelineConfig | str]:
    """Checks the experiment of each stage that is to be trained.

    Args:
        tree: The experiment of both.
        trees: Those of the stages, as `stage_tree` gives them.
        where: Begins every line of an error.

    Raises:
        ConfigError: One of them is wrong. A line about a shared key that the other stage takes says where to write it.
    """
    stages: dict[str, PipelineConfig | str] = {}
    wrong: dict[str, list[str]] = {}
    for stage, each in trees.items():
        try:
            stages[stage] = each if isinstance(each, str) else settings_from(PipelineConfig, each, "")
        except ConfigError as error:
            wrong[stage] = str(error).split("\n")
    for stage, lines in wrong.items():
        other = RANKING if stage == RETRIEVAL else RETRIEVAL
        is_trained = not isinstance(trees[other], str)
        refused = {_key(line) for line in wrong.get(other, ())}
        mended = [
            f"{line.rstrip('.')}. If the {other} stage alone is to have it, write it into model.{other}.{_key(line)}"
            if is_trained and _key(line) not in refused and _is_shared(_key(line), tree, stage)
            else line
            for line in lines
        ]
        raise ConfigError("\n".join(f"{where}stage {stage}: {line}" for line in mended))
    return stages


def _key(line: str) -> str:
    """The dotted key that a line of an error begins with, as in `training.epochs: ...` or `data: history ...`; empty if
    it begins with none."""
    found = re.match(rf"(?P<section>data): (?P<key>{'|'.join(_OWN_DATA)})\b|(?P<dotted>[\w.]+): ", line)
    if not found:
        return ""
    return found["dotted"] or f"{found['section']}.{found['key']}"


def _is_shared(key: str, tree: Mapping[str, Any], stage: str) -> bool:
    """Whether a key stands outside the section `model`, the stage has none of its own, and a stage may have one."""
    section, *rest = key.split(".")
    may_be_own = section not in ("", "name", "model") and (section != "data" or (rest and rest[0] in _OWN_DATA))
    return bool(may_be_own) and _holds(tree, key) and not _holds(tree["model"][stage], key)


def _holds(tree: Mapping[str, Any], key: str) -> bool:
    value: Any = tree
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return True


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of both; where both have a section, the keys of both sections."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[name] = _laid_over(under, value) if both else value
    return merged


def _default_name(stages: Mapping[str, PipelineConfig | str]) -> str:
    config = next((each for each in stages.values() if isinstance(each, PipelineConfig)), None)
    return f"{config.data.name}-{config.data.split.by}-two-stage" if config else "two-stage"


def _check_together(model: TwoStageModel, stages: Mapping[str, PipelineConfig | str]) -> None:
    retrieval, ranking = stages[RETRIEVAL], stages[RANKING]
    if isinstance(retrieval, PipelineConfig):
        if retrieval.dataset.task != "retrieval":
            raise ConfigError(
                f"model.retrieval: a model of task {retrieval.dataset.task} finds no items; train model.type two_tower "
                "with data.task retrieval, which are the stage's defaults"
            )
        if model.search == "approximate" and retrieval.retrieval_index.faiss.type != "ivf":
            raise ConfigError(
                "model.search approximate visits the cells of the retrieval model's index; set "
                "model.retrieval.retrieval_index.faiss: {type: ivf}, or search: exact"
            )
    if isinstance(ranking, PipelineConfig):
        if ranking.dataset.task == "retrieval":
            raise ConfigError(
                f"model.ranking: a model of type {ranking.model.type} predicts nothing that orders items; set "
                "data.task to rating or click, and model.ranking.model to a model of that task"
            )
        if ranking.data.neighbours:
            raise ConfigError(
                "data.neighbours looks at user and item together, which a SavedModel cannot join; leave it out"
            )
    if isinstance(retrieval, PipelineConfig) and isinstance(ranking, PipelineConfig):
        check_same_history(retrieval.data.described(), ranking.data.described())


def check_same_history(retrieval: Dataset, ranking: Dataset) -> None:
    """Checks that the history of a request is to the ranking model what its histories were in training.

    A request has one history for both stages, and it is made as the retrieval stage's data says.

    Args:
        retrieval: Data of the first stage.
        ranking: Data of the second.

    Raises:
        ConfigError: The ranking model was, or would be, trained on other histories.
    """
    if not ranking.history:
        return
    if ranking.history != retrieval.history:
        raise ConfigError(
            f"data.history is {ranking.history} for the ranking stage and {retrieval.history} for the retrieval stage, "
            "but a request has one history for both. Set data.history for both stages, or "
            "model.ranking.data.history: 0"
        )
    label = retrieval.tables.interactions.label
    if label and label.positive_from is not None:
        raise ConfigError(
            f"data.history: a request's history has the rows from positive_from {label.positive_from:g} on, as in the "
            "retrieval stage, but the ranking stage trains on histories of all rows. Set model.ranking.data.history: 0"
        )


def check_split_alike(retrieval: DataConfig, ranking: DataConfig) -> None:
    """Checks that a model that is there already and one that is to be trained hold the same rows out.

    Args:
        retrieval: The section `data` of the first stage.
        ranking: That of the second.

    Raises:
        ConfigError: The ranking model would be trained on rows that judge the whole.
    """
    if retrieval.split != ranking.split:
        raise ConfigError(
            f"data.split: the retrieval model's is {_written(retrieval)}, the ranking model's {_written(ranking)}, so "
            "that one is trained on rows that judge the other. Train both with the same section data.split"
        )
    label = retrieval.described().tables.interactions.label
    fewer = label is not None and label.positive_from is not None and not retrieval.split_all_rows
    if fewer and retrieval.split_protocol().needs_plan:
        raise ConfigError(
            f"data.split.by {retrieval.split.by}: the retrieval model's rows were split after those below "
            "positive_from had been left out, so that its test rows are among those that the ranking model is trained "
            "on. Train it with data.split_all_rows: true, or as a stage of this experiment"
        )


def _written(data: DataConfig) -> str:
    return str(data.split.model_dump(mode="json"))
