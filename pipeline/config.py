"""The experiment file: one tree of frozen settings, from YAML and command-line overrides."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from components.drift.config import DriftConfig
from components.example_gen.config import DataConfig
from components.retrieval_index.config import DEFAULT_CUTOFF, LONGEST_CUTOFF, RetrievalIndexConfig
from components.run_report.card import ModelCard
from pipeline.beam import BeamConfig, moved_to
from pipeline.roots import usable_root
from pipeline.vertex.config import VertexConfig
from pipeline.yaml_text import parse_yaml, read_yaml_file
from trainer_module.data.datasets.movielens import MOVIELENS_100K
from trainer_module.data.paths import normal_directory
from trainer_module.data.spec import DatasetSpec, LabelSpec, Task
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError
from trainer_module.experiment import Experiment
from trainer_module.export.config import ExportConfig
from trainer_module.frozen import Frozen
from trainer_module.memory import LEAST_GB
from trainer_module.models.config import ModelConfig, RatingModelConfig
from trainer_module.suggestions import did_you_mean, nearest
from trainer_module.training.config import TrainingConfig, WarmStartConfig

_PRESETS = Path(__file__).parent / "presets"
# The preset of a dataset that is named without an experiment file; other datasets take the defaults of every section.
_PRESET_OF_DATASET = {
    "movielens-100k": "movielens-100k-ranking",
    "synthetic": "synthetic",
    "criteo": "criteo-dlrm",
    "synthetic-criteo": "criteo-dlrm",
    "synthetic-goals": "synthetic-goals",
    "synthetic-days": "every-day",
}
# Vertex AI takes 128 characters for a run, whose name ends with the time.
_LONGEST_NAME = 112

_LONGEST_SHOWN = 120
_KINDS = {
    dict: "keys and values", list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean",
    type(None): "nothing",
}  # fmt: skip
# What pydantic expected where it refused a value, by the type of the error.
_EXPECTED = {
    "model_type": "a section of keys and values",
    "model_attributes_type": "a section of keys and values",
    "dataclass_type": "a section of keys and values",
    "dict_type": "a section of keys and values",
    "mapping_type": "a section of keys and values",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a text",
    "string_unicode": "a text in Unicode",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of less than 4,300 digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "date_type": "a date",
}
_BOUNDS = {
    "greater_than": "a number above",
    "greater_than_equal": "a number of at least",
    "less_than": "a number below",
    "less_than_equal": "a number of at most",
}
_NAME_PATTERN = r"^[a-z0-9-]*$"
_PATTERNS = {
    _NAME_PATTERN: "lower-case letters, digits and hyphens",
    r"^\w+(\.\w+)+$": "a dotted name such as my_package.my_module.my_function",
}
# As many as a file system allows in the name of a directory, with space for what TFX adds.
_LONGEST_PIPELINE_NAME = 200
_ERRORS_AT_MOST = 10
_LONGEST_LINE = 1500
_LARGEST_INTEGER = 2**63

Settings = TypeVar("Settings", bound=BaseModel)


class ValidationConfig(Frozen):
    """What data validation does.

    Attributes:
        fail_on: Least severity of an anomaly that stops the run.
        drift: How new data are compared with earlier data. None compares where files have spans, and warns.
    """

    fail_on: Literal["warning", "error", "never"] = "error"
    drift: DriftConfig | None = None


# Keys of the section `evaluation` that belong to some tasks only.
_KEYS_OF_TASK: Mapping[Task, tuple[str, ...]] = {
    "rating": ("max_rmse", "max_miscalibration"),
    "click": ("max_log_loss", "min_auc", "max_miscalibration", "max_calibration_error"),
    "retrieval": ("min_ndcg", "cutoffs"),
}


class HeadGates(Frozen):
    """When one head of a `multi_task` model is good enough.

    Attributes:
        max_rmse: For labels of task rating: upper bound of the RMSE on the test split; None sets none.
        max_log_loss: For labels of task click: upper bound of the log loss (in nats) on the test split; None sets none.
        min_auc: For labels of task click: lower bound of the area under the ROC curve on the test split; None sets
            none.
        max_miscalibration: Largest distance of `calibration`, the mean prediction over the mean label on the test
            split, from 1; None sets none.
        max_calibration_error: For labels of task click: upper bound of the expected calibration error on the test
            split; None sets none.
        max_regression: How much worse than the last blessed model's the RMSE, in the label's unit, or the log loss may
            be; None takes `evaluation.max_regression`.
    """

    max_rmse: float | None = Field(default=None, gt=0)
    max_log_loss: float | None = Field(default=None, gt=0)
    min_auc: float | None = Field(default=None, ge=0, le=1)
    max_miscalibration: float | None = Field(default=None, gt=0)
    max_calibration_error: float | None = Field(default=None, gt=0, le=1)
    max_regression: float | None = Field(default=None, ge=0)


class EvaluationConfig(Frozen):
    """When a model is blessed.

    Attributes:
        beat_baseline: Whether the model must not be worse than the naive baseline of its task on the test split.
            Ratings: the RMSE of user and item biases, or of the mean without users and items. Clicks: the log loss of
            the mean. Retrieval: nDCG, at the first cutoff, of the most popular items.
        max_rmse: For ratings: upper bound of the RMSE on the test split; None sets none.
        max_log_loss: For clicks: upper bound of the log loss (in nats) on the test split; None sets none.
        min_auc: For clicks: lower bound of the area under the ROC curve on the test split; None sets none.
        max_miscalibration: For ratings and clicks: largest distance of `calibration`, the mean prediction over the mean
            label on the test split, from 1; None sets none.
        max_calibration_error: For clicks: upper bound of the expected calibration error on the test split, the mean
            distance between predicted and observed share of clicks in ten groups of rows; None sets none.
        min_ndcg: For retrieval: lower bound of nDCG at the first cutoff, over the full corpus; None sets none.
        cutoffs: For retrieval: lengths of the lists that metrics look at, 1 to 100; None looks at 10.
        max_regression: How much worse than the last blessed model's the RMSE, log loss or nDCG may be.
        heads: For `multi_task` models: gates of single heads, by label. `beat_baseline` holds for every head.
        first_run: What happens to a blessed model that has no predecessor to be compared with: `push` it, or `hold`
            it back and let it be the baseline of the next.
    """

    beat_baseline: bool = True
    max_rmse: float | None = Field(default=None, gt=0)
    max_log_loss: float | None = Field(default=None, gt=0)
    min_auc: float | None = Field(default=None, ge=0, le=1)
    max_miscalibration: float | None = Field(default=None, gt=0)
    max_calibration_error: float | None = Field(default=None, gt=0, le=1)
    min_ndcg: float | None = Field(default=None, ge=0, le=1)
    cutoffs: tuple[Annotated[int, Field(ge=1, le=LONGEST_CUTOFF)], ...] | None = Field(default=None, min_length=1)
    max_regression: float = Field(default=0.005, ge=0)
    heads: dict[str, HeadGates] = {}
    first_run: Literal["push", "hold"] = "push"

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and "beat_popularity" in values:
            raise ValueError("beat_popularity is now called beat_baseline, for every task; rename the key")
        return values

    @field_validator("cutoffs")
    @classmethod
    def _check_cutoffs(cls, cutoffs: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if cutoffs and len(set(cutoffs)) < len(cutoffs):
            raise ValueError("a cutoff stands twice; name each once")
        return cutoffs

    @property
    def list_lengths(self) -> tuple[int, ...]:
        """Lengths of the lists that metrics of retrieval look at; the first one decides."""
        return self.cutoffs or (DEFAULT_CUTOFF,)

    def check_heads(self, labels: Sequence[LabelSpec]) -> None:
        """Checks the keys of an experiment with a `multi_task` model.

        Args:
            labels: Of the model's heads.

        Raises:
            ValueError: A key is set that belongs to a head, or to another task than a head's.
        """
        tasks = {label.name: label.task for label in labels}
        for key in (key for keys in _KEYS_OF_TASK.values() for key in keys):
            if getattr(self, key) is not None:
                raise ValueError(
                    f"evaluation.{key}: a multi_task model has gates per head; write evaluation.heads: "
                    f"{{{next(iter(tasks))}: {{...}}}}"
                )
        for name, gates in self.heads.items():
            if name not in tasks:
                raise ValueError(f"evaluation.heads: the model has no head {name!r}; it has {', '.join(tasks)}")
            keys = _KEYS_OF_TASK[tasks[name]]
            for key in sorted(gates.model_dump(exclude_none=True).keys() - {*keys, "max_regression"}):
                raise ValueError(
                    f"evaluation.heads.{name}.{key}: label {name} is of task {tasks[name]}, which takes "
                    f"{', '.join(keys)} and max_regression. Leave it out"
                )

    def of_head(self, label: LabelSpec) -> "EvaluationConfig":
        """The gates of one head, as those of a model that predicts this label alone."""
        gates = self.heads.get(label.name, HeadGates())
        shared = {"beat_baseline": self.beat_baseline, "max_regression": self.max_regression}
        return EvaluationConfig(**shared | gates.model_dump(exclude_none=True))

    def check_task(self, task: Task) -> None:
        """Checks that every key that is set belongs to the task.

        Raises:
            ValueError: A key of another task, or of heads, is set; names it and the keys that fit.
        """
        if self.heads:
            raise ValueError("evaluation.heads: only model.type multi_task has heads; leave it out")
        for other, keys in _KEYS_OF_TASK.items():
            for key in keys:
                if key not in _KEYS_OF_TASK[task] and getattr(self, key) is not None:
                    raise ValueError(
                        f"evaluation.{key}: belongs to task {other}, but this experiment's task is {task}. Leave it "
                        f"out; task {task} takes {', '.join(_KEYS_OF_TASK[task])} and beat_baseline"
                    )


class PipelineConfig(Frozen):
    """A whole experiment.

    Attributes:
        name: Of the pipeline; caching and the comparison with the last blessed model happen among runs of one name.
            Empty means dataset, protocol and model type.
        data: What is ingested and how it is split.
        validation: When bad data stops the run.
        model: The model.
        embeddings: The embedding tables and where they live.
        training: The training loop.
        export: How the SavedModel is made.
        retrieval_index: What finds the items, for two-tower models.
        evaluation: When a model is good enough.
        model_card: What the run report says about the model beyond what was measured.
        cache: Whether unchanged steps are answered from earlier runs.
        modules: Python modules whose functions the experiment may call, as learning rates; no other is imported.
        memory_gb: Gigabytes (10^9 bytes) that a local run may use, tables and vocabularies apart; None is 80% of the
            machine's memory. No result depends on it.
        beam: Where Beam jobs run, in local runs and on Vertex AI.
        vertex: Where and on what it runs on Vertex AI; a local run does not look at it.
    """

    name: str = Field(default="", pattern=_NAME_PATTERN, max_length=_LONGEST_PIPELINE_NAME)
    data: DataConfig = DataConfig(dataset=MOVIELENS_100K.name)
    validation: ValidationConfig = ValidationConfig()
    model: ModelConfig = RatingModelConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()
    retrieval_index: RetrievalIndexConfig = RetrievalIndexConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    model_card: ModelCard = ModelCard()
    cache: bool = True
    modules: tuple[str, ...] = ()
    memory_gb: float | None = Field(default=None, ge=LEAST_GB)
    beam: BeamConfig = BeamConfig()
    vertex: VertexConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> "PipelineConfig":
        if self.export.route == "subset":
            raise ValueError(
                "export.route subset serves embeddings, not the ratings that the Evaluator judges. Take auto, "
                "checkpoint or direct; trainer_module.export.routes.export makes subsets (docs/export.md)"
            )
        if not self.model.predicted:
            self.evaluation.check_task(self.dataset.task)
        deploy = self.vertex and self.vertex.deploy
        if deploy and deploy.vector_search and self.model.type != "two_tower":
            raise ValueError(
                f"vertex.deploy.vector_search: a {self.model.type} model has no items' vectors to import. Leave the "
                "section out, or train model.type two_tower"
            )
        if self.model.type != "two_tower" and self.retrieval_index != RetrievalIndexConfig():
            raise ValueError(
                f"retrieval_index: a {self.model.type} model has no items' vectors to search in; leave the section "
                "out, or train model.type two_tower"
            )
        self._check_warm_start()
        if self.vertex and self.data.reads_files != bool(self.vertex.data):
            raise ValueError(
                "vertex.data: this key is missing; name the directory of the raw files in a bucket"
                if self.data.reads_files
                else "vertex.data: all tables are queries, and no raw file is read; leave the key out"
            )
        if self.validation.drift:
            self.validation.drift.check(self.dataset.features)
        if self.data.schema_file and not Path(self.data.schema_file).is_file():
            raise ValueError(f"data.schema_file: there is no file {self.data.schema_file}")
        try:
            self.experiment.check()
            if self.model.predicted:
                self.evaluation.check_heads(self.predicted_labels)
            if self.model.type == "two_tower":
                tables = self.experiment.features(self.dataset.features).tables
                self.retrieval_index.check(self.dataset, tables[0].dim or self.embeddings.dim)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def _check_warm_start(self) -> None:
        start = self.training.warm_start
        if not isinstance(start, WarmStartConfig):
            return
        for key, path, expected in (
            ("checkpoint", start.checkpoint, Path(f"{start.checkpoint}.index")),
            ("transform_graph", start.transform_graph, Path(start.transform_graph)),
        ):
            if "://" not in path and not expected.exists():
                raise ValueError(f"training.warm_start.{key}: {path} is not there (no {expected})")

    @property
    def pipeline_name(self) -> str:
        # Types of models have underscores, names of pipelines none: Vertex AI takes none.
        return self.name or f"{self.data.name}-{self.data.split.by}-{self.model.type}".replace("_", "-")

    @property
    def dataset(self) -> DatasetSpec:
        """What the pipeline knows about the data."""
        return self.data.described().spec()

    @property
    def drift(self) -> DriftConfig | None:
        """How new data are compared with earlier data; None if they are not."""
        drift = self.validation.drift or (DriftConfig() if self.data.has_spans else None)
        return None if drift is None or drift.action == "never" else drift

    @property
    def predicted_labels(self) -> tuple[LabelSpec, ...]:
        """The labels of a `multi_task` model's heads, in their order; empty for all other models."""
        labels = {label.name: label for label in self.dataset.labels}
        return tuple(labels[name] for name in self.model.predicted)

    @property
    def experiment(self) -> Experiment:
        """The part that the Trainer sees; a change of anything else does not train again."""
        return Experiment(
            dataset=self.dataset.for_training(),
            model=self.model,
            embeddings=self.embeddings,
            training=self.training,
            export=self.export,
            modules=self.modules,
        )

    def without_local_paths(self) -> "PipelineConfig":
        """The experiment as components are told it: the same wherever its files lie and wherever it runs."""
        return self.model_copy(
            update={"data": self.data.portable(), "memory_gb": None, "beam": BeamConfig(), "vertex": None}
        )

    def for_push(self) -> "PipelineConfig":
        """Drops what only the report reads, so that another text does not push the model again."""
        return self.model_copy(update={"model_card": ModelCard()})


@dataclass(frozen=True)
class Locations:
    """Where a pipeline reads and writes.

    Attributes:
        data: Directory of the raw files, possibly remote.
        root: Directory for everything that runs leave behind.
    """

    data: str
    root: Path

    @property
    def metadata(self) -> Path:
        return self.root / "metadata.sqlite"

    def artifacts(self, pipeline_name: str) -> Path:
        return self.root / "artifacts" / pipeline_name

    def checkpoints(self, pipeline_name: str) -> Path:
        """Holds the states of trainings that are under way or were interrupted."""
        return self.root / "checkpoints" / pipeline_name

    def serving(self, pipeline_name: str) -> Path:
        """Holds one numbered directory per pushed version."""
        return self.root / "serving" / pipeline_name

    @classmethod
    def resolve(cls, config: PipelineConfig, root: Path, data: Path | None = None) -> "Locations":
        """Absolute locations; the raw files lie where the section `data` says unless `data` says otherwise.

        Raises:
            ConfigError: One of the directories cannot be used.
        """
        if data and not config.data.reads_files:
            raise ConfigError("--data-dir: all tables are queries, and no raw file is read; leave it out")
        try:
            directory = normal_directory(str(data), "--data-dir") if data else config.data.directory
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return cls(directory if "://" in directory else os.path.abspath(directory), usable_root(root))


def check_name(name: str, option: str) -> None:
    """Checks that a name can be that of a pipeline, and so of a directory.

    Raises:
        ConfigError: It cannot; the message begins with `option`.
    """
    if not name or len(name) > _LONGEST_PIPELINE_NAME or not re.fullmatch(_NAME_PATTERN, name):
        raise ConfigError(
            f"{option} {name}: take up to {_LONGEST_PIPELINE_NAME} lower-case letters, digits and hyphens"
        )


def load_config(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> PipelineConfig:
    """Reads an experiment file and applies overrides.

    Args:
        file: YAML, or the name of a preset; None means the preset of the dataset (MovieLens 100K unless overridden).
        overrides: Values by dotted key, as in `{"training.epochs": 3}`. `beam.runner` drops keys of the file that
            belong to another runner; see `pipeline.beam.moved_to`.

    Raises:
        ConfigError: The file cannot be read, has two stages, a key is unknown (names the nearest known one) or a value
            is wrong.
    """
    tree, where = experiment_tree(file, overrides), f"{file}: " if file else ""
    model = tree.get("model")
    if isinstance(model, Mapping) and model.get("type") == "two_stage":
        raise ConfigError(
            f"{where}model.type two_stage: this command takes an experiment of one model; `recspan pipeline stages "
            f"--config {file or 'FILE'} -o DIRECTORY` writes each stage to a file of its own"
        )
    return settings_from(PipelineConfig, tree, where)


def experiment_tree(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys and values of an experiment, as they are written and not yet checked; arguments as for `load_config`.

    Raises:
        ConfigError: The file cannot be read.
    """
    overrides = overrides or {}
    preset = _PRESET_OF_DATASET.get(str(overrides.get("data.dataset", MOVIELENS_100K.name)))
    read_from = _named(file) if file else preset and _PRESETS / f"{preset}.yaml"
    tree = _read(read_from) if read_from else {}
    section = tree.get("beam")
    if "beam.runner" in overrides and isinstance(section, Mapping):
        tree["beam"] = moved_to(overrides["beam.runner"], section)
    return _overridden(tree, overrides)


def vertex_section(config: PipelineConfig) -> VertexConfig:
    """The section `vertex` of an experiment that is to run there.

    Raises:
        ConfigError: There is none, or the pipeline's name does not fit.
    """
    if config.vertex is None:
        raise ConfigError(
            "vertex: the experiment has no such section. It needs at least project, region, bucket, data and image, as "
            "in --set vertex.project=my-project (docs/vertex.md)"
        )
    if not re.fullmatch(r"[a-z][a-z0-9-]*", config.pipeline_name) or len(config.pipeline_name) > _LONGEST_NAME:
        raise ConfigError(
            f"name: {config.pipeline_name!r} cannot name a run on Vertex AI; it must begin with a letter and have at "
            f"most {_LONGEST_NAME}, as in {config.pipeline_name.lstrip('-0123456789')[:_LONGEST_NAME] or 'my-pipeline'}"
        )
    return config.vertex


def read_settings(model: type[Settings], file: Path | None, overrides: Mapping[str, Any], where: str) -> Settings:
    """Reads settings of any kind from YAML and applies overrides.

    Args:
        model: What the file describes.
        file: YAML; None begins with nothing but the overrides.
        overrides: Values by dotted key.
        where: Begins every line of an error.

    Raises:
        ConfigError: The file cannot be read, a key is unknown (names the nearest known one) or a value is wrong.
    """
    return settings_from(model, _overridden(_read(file) if file else {}, overrides), where)


def settings_from(model: type[Settings], tree: Mapping[str, Any], where: str) -> Settings:
    """Checks keys and values.

    Args:
        model: What they describe.
        tree: Sections by name.
        where: Begins every line of an error.

    Raises:
        ConfigError: A key is unknown (names the nearest known one) or a value is wrong.
    """
    try:
        settings = model.model_validate(tree)
    except ValidationError as error:
        lines = [f"{where}{_explain(model, detail)}" for detail in error.errors()]
        if more := len(lines[_ERRORS_AT_MOST:]):
            lines[_ERRORS_AT_MOST:] = [f"{where}and {more} more"]
        raise ConfigError("\n".join(map(_clipped, lines))) from None
    if key := next(_too_large(settings), None):
        raise ConfigError(f"{where}{key}: expected a whole number of at most 64 bits")
    return settings


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """From `key=value` texts to overrides; the values are YAML.

    Raises:
        ConfigError: A text has no `=`, its value is no YAML, or a key has two values.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {assignment}: expected key=value, as in --set training.epochs=3")
        value = parse_yaml(text, f"--set {key}")
        if key in overrides and overrides[key] != value:
            raise ConfigError(f"--set {key} is given twice, as {overrides[key]!r} and {value!r}; give it once")
        overrides[key] = value
    return overrides


def preset_names() -> list[str]:
    """The experiment files that come with the product."""
    return sorted(file.stem for file in _PRESETS.glob("*.yaml"))


def _named(file: Path) -> Path:
    """The file, or the preset of that name."""
    if file.suffix or _exists(file):
        return file
    if str(file) not in preset_names():
        raise ConfigError(
            f"--config {_shortened(str(file))}: no such file, and no preset of that name. "
            f"{did_you_mean(str(file), preset_names())}Presets: {', '.join(preset_names())}"
        )
    return _PRESETS / f"{file}.yaml"


def _exists(file: Path) -> bool:
    """Whether a path leads anywhere; a path that no file can have does not."""
    try:
        return file.exists()
    except (OSError, ValueError):
        return False


def _read(file: Path) -> dict[str, Any]:
    tree = read_yaml_file(file)
    if not isinstance(tree, dict | None):
        kind = _KINDS.get(type(tree), "something else")
        raise ConfigError(f"{file}: expected keys and values at the top, got {kind}")
    return tree or {}


def _overridden(tree: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in overrides.items():
        assign(tree, key, value)
    return tree


def assign(tree: dict[str, Any], dotted_key: str, value: Any) -> None:
    """Sets a key in sections by name; missing sections are made.

    Raises:
        ConfigError: What should be a section is a value.
    """
    *sections, leaf = dotted_key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{dotted_key}: {section} is a value, not a section")
    tree[leaf] = value


def _explain(model: type[BaseModel], detail: Any) -> str:
    """One line for one pydantic error."""
    if not detail["loc"]:
        # What the experiment as a whole was refused for; the message names the key.
        return detail["msg"].removeprefix("Value error, ")
    path, known = _place(model, detail["loc"])
    name = _shortened(".".join(path))
    if detail["type"] != "extra_forbidden":
        # A whole section would be repeated; its message names the keys.
        got = "" if isinstance(detail["input"], Mapping) else f", got {_shown(detail['input'])}"
        return f"{name}: {_reason(detail)}{got}"
    *sections, key = path
    # A key of another member of a union is known too.
    near = nearest(key, [name for name in known if name != key])
    hint = f"Did you mean {'.'.join([*sections, near])}? " if near else ""
    return f"{name}: unknown key. {hint}Known: {', '.join(known)}"


def _reason(detail: Any) -> str:
    """Why pydantic refused a value, in the words of an experiment file."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}"
    if kind == "missing":
        return "this key is missing"
    if kind == "union_tag_not_found":
        found = ", ".join(map(str, detail["input"])) if isinstance(detail["input"], Mapping) else ""
        return f"the key {_unquoted(context['discriminator'])} is missing{f'; found {found}' if found else ''}"
    if kind == "union_tag_invalid":
        return f"{_unquoted(context['discriminator'])} must be one of {_unquoted(context['expected_tags'])}"
    if kind == "literal_error":
        return f"expected {context['expected']}"
    if kind == "invalid_key":
        return "expected a text as the key; put it in quotes"
    if kind in _BOUNDS:
        bound, *_ = [value for name, value in context.items() if name != "field_type"]
        return f"expected {_BOUNDS[kind]} {bound}"
    if kind in ("too_short", "too_long"):
        length = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"expected {length} entries, found {context['actual_length']}"
    if kind in ("string_too_short", "string_too_long"):
        bound = f"at least {context['min_length']}" if "min_length" in context else f"at most {context['max_length']}"
        return f"expected {bound} characters"
    if kind == "string_pattern_mismatch":
        return f"expected {_PATTERNS.get(context['pattern'], 'a text that matches ' + context['pattern'])}"
    return detail["msg"].removeprefix("Value error, ")


def _too_large(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Keys of the integers that neither TensorFlow nor Arrow can hold."""
    if isinstance(value, BaseModel):
        entries = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        entries = list(value.items())
    elif isinstance(value, tuple | list):
        entries = [("", each) for each in value]
    else:
        if isinstance(value, int) and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
            yield ".".join(filter(None, path))
        return
    for name, each in entries:
        yield from _too_large(each, (*path, str(name)))


def _clipped(line: str) -> str:
    """A message without its middle, if that is filled by a name of thousands of characters."""
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"


def _unquoted(names: str) -> str:
    return names.replace("'", "")


def _shown(value: Any) -> str:
    """A value as messages show it: on one line, and not longer than a line."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return _KINDS.get(type(value), "something else")
    return _shortened(text)


def _shortened(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _place(model: type[BaseModel], location: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Where in the experiment file an error lies.

    Args:
        model: What the file describes.
        location: Pydantic's, which also names members of unions and numbers entries of lists.

    Returns:
        The keys that lead there, and the keys that are known beside the last one.
    """
    path: list[str] = []
    models, beside, names_follow = [model], [model], False
    *sections, last = map(str, location)
    for section in sections:
        if names_follow:
            # A section keyed by table or feature names.
            path.append(section)
            names_follow, beside = False, models
        elif members := _chosen(models, section):
            models = beside = members
        elif fields := [place.model_fields[section] for place in models if section in place.model_fields]:
            path.append(section)
            names_follow = any(get_origin(field.annotation) is dict for field in fields)
            models = beside = [inner for field in fields for inner in _within(field.annotation)]
    if names_follow or not (_chosen(models, last) or _names_a_type(models, last)):
        path.append(last)
    return path, list(dict.fromkeys(name for place in beside for name in place.model_fields))


def _names_a_type(models: list[type[BaseModel]], name: str) -> bool:
    """Whether pydantic calls a member of a union so, as in `WarmupDecay` or `literal['last_blessed']`."""
    return name in [model.__name__ for model in models] or name.endswith(("]", "-float"))


def _chosen(models: list[type[BaseModel]], name: str) -> list[type[BaseModel]]:
    """The member of a union that a discriminator's value chooses; empty if there is nothing to choose."""
    if len(models) < 2:
        return []
    return [
        model
        for model in models
        if any(
            get_origin(field.annotation) is Literal and name in get_args(field.annotation)
            for field in model.model_fields.values()
        )
    ]


def _within(annotation: Any) -> list[type[BaseModel]]:
    """All models that a type holds: itself, members of a union, values of a dictionary."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _within(argument)]
