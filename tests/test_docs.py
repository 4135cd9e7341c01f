"""What the pages below docs/ show is what the product takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from components.example_gen.config import DataConfig
from components.example_gen.splits.protocols import PROTOCOLS
from components.retrieval_index.config import (
    FlatConfig,
    HnswConfig,
    IvfConfig,
    IvfPqConfig,
    RetrievalIndexConfig,
)
from components.vertex_deployer.config import (
    DeployConfig,
    EndpointConfig,
    IndexEndpointConfig,
    TensorFlowServing,
    VectorSearchConfig,
)
from pipeline.beam import _KEYS_OF_RUNNER, BeamConfig
from pipeline.cli import app
from pipeline.config import PipelineConfig
from pipeline.tuning.space import SearchSpace, Start, check_space
from pipeline.vertex.config import Schedule, TrainerMachine, VertexConfig
from pipeline.vertex.machines import find_machine, tpu_machines
from trainer_module.data.tables import EntityTable, InteractionsTable, LabelEntry, TimeEntry
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS
from trainer_module.training.config import TrainingConfig

DOCS = Path(__file__).parent.parent / "docs"
EXPERIMENTS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in [
        DOCS / f"{name}.md"
        for name in (
            "embeddings",
            "training",
            "multi_task",
            "retrieval_index",
            "vertex",
            "vertex_guide",
            "report",
            "bigquery",
            "scale",
        )
    ]
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", EXPERIMENTS)
def test_every_experiment_is_valid(block):
    config = PipelineConfig.model_validate(yaml.safe_load(block))
    config.experiment.features(config.dataset.features)


def test_the_page_on_training_shows_the_defaults():
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "training.md").read_text(), re.DOTALL)
    shown = TrainingConfig.model_validate(yaml.safe_load(block)["training"])
    assert shown.model_copy(update={"dense_optimizer": TrainingConfig().dense_optimizer}) == TrainingConfig()


def test_the_page_on_the_index_shows_the_defaults_and_every_parameter():
    text = (DOCS / "retrieval_index.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    section = yaml.safe_load(block)["retrieval_index"]
    assert RetrievalIndexConfig.model_validate(section) == RetrievalIndexConfig()
    assert set(section) == set(RetrievalIndexConfig.model_fields)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    for kind in (FlatConfig, IvfConfig, IvfPqConfig, HnswConfig):
        parameters = {name: field.default for name, field in kind.model_fields.items()}
        row = rows[parameters.pop("type")]
        # Where the default is a rule, the row explains it; one that another row explains is named alone.
        shown = dict(re.findall(r"`(\w+)`[^`(]*\((\d+)", row))
        assert all(f"`{name}`" in row for name in parameters)
        assert all(int(value) == parameters[name] for name, value in shown.items() if parameters[name])


def test_the_table_of_optimizers_is_the_data():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (\d) \|", (DOCS / "embeddings.md").read_text(), re.MULTILINE)
    shown = {name: (set(re.findall(r"`(\w+)`", arguments)), int(slots)) for name, arguments, slots in rows}
    assert shown == {
        name: (set(optimizer(learning_rate=1).arguments), len(optimizer.slots))
        for name, optimizer in EMBEDDING_OPTIMIZERS.items()
    }


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_embedding_section_is_explained_whole():
    text = (DOCS / "embeddings.md").read_text()
    for field in EmbeddingsConfig.model_fields:
        assert field in text, field


@pytest.mark.parametrize(
    "block",
    re.findall(r"```yaml\n(.*?)```", (DOCS / "own_data.md").read_text(), re.DOTALL),
    ids=["first", "second", "spans"],
)
def test_experiments_on_own_data_are_valid(block):
    config = PipelineConfig.model_validate(yaml.safe_load(block))
    assert config.dataset.features.label.name in ("clicked", "interaction")


def test_the_first_experiment_on_own_data_is_short():
    first = re.findall(r"```yaml\n(.*?)```", (DOCS / "own_data.md").read_text(), re.DOTALL)[0]
    assert len(first.splitlines()) < 15


def test_every_key_of_tables_and_splits_is_explained_with_own_data():
    text = (DOCS / "own_data.md").read_text()
    for kind in (DataConfig, InteractionsTable, EntityTable, LabelEntry, TimeEntry, *PROTOCOLS.values()):
        for field in kind.model_fields:
            assert field in text, field


def test_the_section_vertex_is_shown_whole():
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "vertex.md").read_text(), re.DOTALL)
    shown = yaml.safe_load(block)["vertex"]
    for kind, section in (
        (VertexConfig, shown),
        (TrainerMachine, shown["trainer"]),
        (Schedule, shown["schedule"]),
    ):
        assert set(section) == set(kind.model_fields)
    assert find_machine(TrainerMachine.model_validate(shown["trainer"])).slice


def test_the_section_beam_is_shown_whole():
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "scale.md").read_text(), re.DOTALL)
    shown = [set(yaml.safe_load(block)["beam"]) for block in blocks]
    assert set().union(*shown) == set(BeamConfig.model_fields)


def test_the_table_of_runners_is_the_data():
    text = (DOCS / "scale.md").read_text()
    rows = re.findall(r"^\| `(\w+)`[^|]* \|[^|]+\|[^|]+\| (`[^|]+`) \|$", text, re.MULTILINE)
    shown = {runner: tuple(re.findall(r"`(\w+)`", keys)) for runner, keys in rows}
    assert shown == {runner: taken for runner, (taken, _) in _KEYS_OF_RUNNER.items()}


def test_the_section_deploy_is_shown_whole():
    text = (DOCS / "vertex_guide.md").read_text()
    shown = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[-1])["vertex"]["deploy"]
    for kind, section in (
        (DeployConfig, shown),
        (TensorFlowServing, shown["serving"]),
        (EndpointConfig, shown["endpoint"]),
        (VectorSearchConfig, shown["vector_search"]),
        (IndexEndpointConfig, shown["vector_search"]["endpoint"]),
    ):
        assert set(section) == set(kind.model_fields)


def test_the_table_of_machines_is_the_data():
    text = (DOCS / "vertex.md").read_text()
    rows = re.findall(r"^\| `(v\d\w?)-N`: `([\w-]+)`.*? \| \1 \| (V1|V2|none).* \| ([\d, ]+) \|$", text, re.MULTILINE)
    shown = {name: (machine, {"none": "V0"}.get(feature, feature), sizes) for name, machine, feature, sizes in rows}
    on_one_host = [machine for machine in tpu_machines() if machine.slice and machine.slice.hosts == 1]
    expected = {}
    for machine in on_one_host:
        generation = machine.slice.generation.name
        first, feature, sizes = expected.get(generation, (machine.type, machine.embedding_features[0], []))
        expected[generation] = (first, feature, [*sizes, machine.slice.name.rpartition("-")[2]])
    assert shown == {name: (first, feature, ", ".join(sizes)) for name, (first, feature, sizes) in expected.items()}


def test_the_search_space_on_the_page_is_valid():
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "tuning.md").read_text(), re.DOTALL)
    space = SearchSpace.model_validate(yaml.safe_load(block))
    check_space(space, Start.read(None, {}))
    assert yaml.safe_load(block).keys() == SearchSpace.model_fields.keys()


def test_the_commands_of_tuning_are_ones():
    commands = re.findall(r"^recspan tune (.*)$", (DOCS / "tuning.md").read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        typer.main.get_command(app).commands["tune"].make_context("tune", shlex.split(command))


COMMANDS = [
    command
    for page in ("vertex.md", "rehearsal.md", "vertex_guide.md", "report.md")
    for command in re.findall(r"^recspan (.*)$", (DOCS / page).read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command):
    group, verb, *arguments = shlex.split(command)
    commands = typer.main.get_command(app).commands[group].commands
    commands[verb].make_context(verb, arguments)
