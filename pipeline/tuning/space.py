"""The search space: which keys of an experiment are tuned, and which values each may take. Free of TensorFlow."""

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from pipeline.config import PipelineConfig, assign, experiment_tree, read_settings, settings_from
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen
from trainer_module.models.config import MultiTaskConfig

_TUNED_SECTIONS = ("model", "embeddings", "training")

# Keys of the tuned sections that no trial may change, and why.
_JUDGING = "trials are compared by their evaluations, which must be the same for all of them"
_NOT_LEARNED = "it does not change what is learned"
_REFUSED: Mapping[str, str] = {
    "training.seed": "the best of several seeds is luck, which the test split does not repeat",
    "training.keep": _JUDGING,
    "training.evaluate_every": _JUDGING,
    "training.eval_batch_size": _JUDGING,
    "training.warm_start": "trials start from new weights",
    **{
        f"training.{key}": _NOT_LEARNED
        for key in (
            "strategy",
            "tpu",
            "steps_per_loop",
            "checkpoint_every",
            "keep_checkpoints",
            "async_checkpoints",
            "jit_compile",
            "cache",
            "profile_steps",
        )
    },
}


class Range(Frozen):
    """Numbers from `low` to `high`.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Sample uniformly in the logarithm, for quantities such as learning rates.
        whole: Whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}; expected the smaller number first")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm; give a low above 0, or leave log out")
        if self.whole and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"whole numbers end at whole numbers, not at {self.low:g} and {self.high:g}")
        return self

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that stand for all: both ends and one between, no whole number unless all are."""
        between = self.low + (self.high - self.low) / math.e
        return tuple(round(x) if self.whole else x for x in (self.low, between, self.high))

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and (not self.whole or float(value).is_integer())


def _checked_choices(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    texts = [json.dumps(choice, sort_keys=True) for choice in choices]
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise ValueError(f"the value {twice[0]} stands twice; name each once")
    return choices


def _is_either(value: Any) -> Any:
    if not isinstance(value, dict | list | tuple | Range):
        raise ValueError("expected a list of values, or the keys low and high")
    return value


Choices = tuple[Any, ...]
Parameter = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[Choices, Field(min_length=2), AfterValidator(_checked_choices), Tag("choices")],
    Discriminator(lambda value: "range" if isinstance(value, dict | Range) else "choices"),
    BeforeValidator(_is_either),
]


class SearchSpace(Frozen):
    """What is tuned, and which trials are stopped early.

    Attributes:
        parameters: A range or a list of values, by dotted key of the experiment.
        pruner: Which trials end before their training does. `median`: those whose best evaluation so far is worse than
            the median of the earlier trials' at the same evaluation. `hyperband`: Li et al., JMLR 2018. `none`: none.
        prune_from: First evaluation at which `median` ends a trial; in the first ones, those with strong regularization
            are behind.
    """

    parameters: dict[str, Parameter] = Field(min_length=1)
    pruner: Literal["median", "hyperband", "none"] = "median"
    prune_from: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _check_keys(self) -> "SearchSpace":
        for outer, inner in itertools.permutations(self.parameters, 2):
            if inner.startswith(f"{outer}."):
                raise ValueError(f"parameters: {inner} is part of {outer}; tune one of them")
        return self


@dataclass(frozen=True)
class Start:
    """The experiment that is tuned.

    Attributes:
        tree: Its keys and values as written, with the overrides of the command line.
        config: The same, checked.
    """

    tree: Mapping[str, Any]
    config: PipelineConfig

    @classmethod
    def read(cls, file: Path | None, overrides: Mapping[str, Any]) -> "Start":
        """Reads an experiment; arguments and errors as for `load_config`.

        Raises:
            ConfigError: Its trials could not start from new weights.
        """
        tree = experiment_tree(file, overrides)
        config = settings_from(PipelineConfig, tree, where=f"{file}: " if file else "")
        if config.training.warm_start is not None:
            raise ConfigError(
                "training.warm_start: trials start from new weights, so tuning would choose settings for another "
                "training than yours. Leave the key out, as with --set training.warm_start=null"
            )
        return cls(tree, config)

    def changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The experiment's tree with other values.

        Args:
            values: By dotted key.

        Raises:
            ConfigError: A key leads through a value.
        """
        tree = copy.deepcopy(dict(self.tree))
        for key, value in values.items():
            self._write_variants(tree, key)
            assign(tree, key, value)
        return tree

    def value(self, key: str) -> Any:
        """What the experiment has under a dotted key, as YAML would hold it; None if there is no such key."""
        node: Any = self.config.model_dump(mode="json")
        for name in key.split("."):
            node = node.get(name) if isinstance(node, Mapping) else None
        return node

    def _write_variants(self, tree: dict[str, Any], key: str) -> None:
        """Writes sections down that the experiment leaves to their defaults, if they have variants.

        A key of the default optimizer would otherwise stand in a section that does not say which optimizer it is.
        """
        settings: Any = self.config
        for name in key.split(".")[:-1]:
            settings = getattr(settings, name, None)
            if not isinstance(settings, BaseModel):
                return
            if tree.get(name) is None:
                tree[name] = settings.model_dump(mode="json") if _is_variant(settings) else {}
            tree = tree[name]
            if not isinstance(tree, dict):
                return


def _is_variant(settings: BaseModel) -> bool:
    fields = [type(settings).model_fields.get(name) for name in ("type", "name")]
    return any(field is not None and get_origin(field.annotation) is Literal for field in fields)


def read_space(file: Path, start: Start) -> SearchSpace:
    """Reads a search space and checks it against the experiment.

    Raises:
        ConfigError: The file cannot be read; a key is unknown (names the nearest known one) or may not be tuned; a
            value is one that the experiment never takes.
    """
    space = read_settings(SearchSpace, file, {}, where=f"{file}: ")
    check_space(space, start, where=f"{file}: ")
    return space


def check_space(space: SearchSpace, start: Start, where: str = "") -> None:
    """Checks keys and values one by one; whether values go together is checked trial by trial.

    Args:
        space: What is checked.
        start: The experiment.
        where: Begins every message.

    Raises:
        ConfigError: See `read_space`.
    """
    for key, parameter in space.parameters.items():
        _check_may_be_tuned(key, where)
        for value in parameter.examples if isinstance(parameter, Range) else parameter:
            _check_value(key, value, start, where)


def _check_may_be_tuned(key: str, where: str) -> None:
    section = key.split(".")[0]
    if section == "data":
        raise ConfigError(
            f"{where}parameters.{key}: trials share the examples that are ingested and split once, so no key of the "
            "section data is tuned. Leave it out, and tune the experiment with each value apart"
        )
    if section in PipelineConfig.model_fields and section not in _TUNED_SECTIONS:
        raise ConfigError(
            f"{where}parameters.{key}: {_NOT_LEARNED}; tuned are keys of the sections {', '.join(_TUNED_SECTIONS)}. "
            "Leave it out"
        )
    for refused, reason in _REFUSED.items():
        if f"{key}.".startswith(f"{refused}."):
            raise ConfigError(f"{where}parameters.{key}: {reason}. Leave it out")


def _check_value(key: str, value: Any, start: Start, where: str) -> None:
    tree = start.changed({key: value})
    try:
        config = PipelineConfig.model_validate(tree)
    except ValidationError as error:
        # A check across keys may fail beside the other values of the start and hold beside those of a trial.
        if any(detail["type"] != "value_error" for detail in error.errors()):
            settings_from(PipelineConfig, tree, where=f"{where}parameters.{key}, value {json.dumps(value)}: ")
        return
    if not is_judged_alike(config, start):
        raise ConfigError(
            f"{where}parameters.{key}: the value {json.dumps(value)} changes the heads of model.type multi_task; "
            f"{_JUDGING}. Leave it out"
        )
    if not shares_data(config, start):
        raise ConfigError(
            f"{where}parameters.{key}: the value {json.dumps(value)} changes what Transform computes, which trials "
            "share. Leave it out, and tune the experiment with each value apart"
        )


def is_judged_alike(config: PipelineConfig, start: Start) -> bool:
    """Whether a trial's selection metric means what the start's does: the loss of several goals depends on their
    weights."""
    return _heads(config) == _heads(start.config)


def _heads(config: PipelineConfig) -> Any:
    return config.model.heads if isinstance(config.model, MultiTaskConfig) else None


def shares_data(config: PipelineConfig, start: Start) -> bool:
    """Whether a trial can be trained on what Transform made for the start."""
    return _preprocessing(config) == _preprocessing(start.config)


def _preprocessing(config: PipelineConfig) -> Any:
    return config.embeddings.applied_to(config.dataset.features).for_preprocessing()


def without_pruner(space: SearchSpace) -> SearchSpace:
    """The space for trials whose evaluations nobody sees before they have ended.

    Raises:
        ConfigError: The space asks for a pruner.
    """
    if space.pruner != "none" and space.model_fields_set & {"pruner", "prune_from"}:
        raise ConfigError(
            "--vertex: a run shows its metric when it has ended, so no trial can be pruned; set pruner: none in the "
            "search space, or leave pruner and prune_from out"
        )
    return space.model_copy(update={"pruner": "none"})


def checked(start: Start, values: Mapping[str, Any]) -> PipelineConfig:
    """The experiment with other values, after the checks that every experiment passes when it is read.

    Raises:
        ConfigError: These values do not go together.
    """
    config = settings_from(PipelineConfig, start.changed(values), where="")
    if not shares_data(config, start):
        raise ConfigError("these values together change what Transform computes, which trials share")
    if not is_judged_alike(config, start):
        raise ConfigError("these values together change the heads of the model, by which trials are judged")
    return config


def shown(value: Any) -> str:
    """A value as people read it in a table."""
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def held(space: SearchSpace, start: Start) -> Iterator[tuple[str, Any]]:
    """Keys and values of the start that a trial could take."""
    for key, parameter in space.parameters.items():
        value = start.value(key)
        if parameter.holds(value) if isinstance(parameter, Range) else value in parameter:
            yield key, value
