"""Reads the tables of an experiment, with their numbers of rows from a transform graph (`recspan plan --config`)."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Locations, PipelineConfig, load_config
from pipeline.planning.plan import PlannedFeature, Workload
from pipeline.planning.plan_input import PlanInput, planned_table
from trainer_module.data.features import Categorical, FeatureSpec, HashBuckets
from trainer_module.errors import ConfigError


def from_experiment(
    file: Path | None, overrides: Mapping[str, Any], root: Path, transform_graph: Path | None
) -> PlanInput:
    """Reads the tables from an experiment and their numbers of rows from a transform graph.

    Args:
        file: Experiment file; None means the dataset's preset.
        overrides: Values by dotted key, as in `{"embeddings.dim": 64}`.
        root: Directory of the pipeline's runs.
        transform_graph: Directory of the graph; None means the newest one of this pipeline below `root`.

    Raises:
        ConfigError: The experiment is invalid, or no transform graph has its tables.
    """
    config = load_config(file, overrides)
    spec = config.experiment.features(config.dataset.features)
    graph = transform_graph or _newest_transform_graph(config, root)
    rows = _table_rows(spec, graph)
    return PlanInput(
        f"experiment {config.pipeline_name}, rows from {graph}", workload_of(config, spec, rows), _assumptions(spec)
    )


def workload_of(config: PipelineConfig, spec: FeatureSpec, rows: Mapping[str, int]) -> Workload:
    """Returns the planner's view of an experiment.

    Args:
        config: The experiment.
        spec: The features that the model reads, with the experiment's overrides.
        rows: Number of rows by table.
    """
    embeddings, training = config.embeddings, config.training
    return Workload(
        tables=tuple(
            planned_table(
                table.name,
                rows[table.name],
                table.dim or embeddings.dim,
                table.optimizer or training.embedding_optimizer,
            )
            for table in spec.tables
        ),
        features=tuple(
            PlannedFeature(column.name, column.table, column.max_sequence_length or 1, column.max_sequence_length)
            for column in spec.categorical
        ),
        batch_size=training.batch_size,
        placement=embeddings.placement,
        size_threshold=embeddings.size_threshold,
    )


def _assumptions(spec: FeatureSpec) -> tuple[str, ...]:
    def names(columns: Iterable[Categorical]) -> str:
        return ", ".join(column.name for column in columns)

    bags = [column for column in spec.categorical if column.multivalent and not column.max_sequence_length]
    sequences = [column for column in spec.categorical if column.max_sequence_length]
    return (
        *([f"one id per example in {names(bags)}; their true number is only in the data"] if bags else ()),
        *([f"full sequences in {names(sequences)}"] if sequences else ()),
    )


def _newest_transform_graph(config: PipelineConfig, root: Path) -> Path:
    where = Locations.resolve(config, root).artifacts(config.pipeline_name) / "Transform" / "transform_graph"
    graphs = [graph for graph in where.glob("*") if graph.name.isdecimal() and (graph / "transform_fn").is_dir()]
    if not graphs:
        raise ConfigError(
            f"no transform graph of the pipeline {config.pipeline_name} in {where}; the number of rows comes from "
            "there. Run `recspan pipeline run` with this experiment once, name a graph with --transform-graph, or plan "
            "without data with --tables"
        )
    return max(graphs, key=lambda graph: int(graph.name))


def _table_rows(spec: FeatureSpec, graph: Path) -> dict[str, int]:
    if not (graph / "transform_fn").is_dir():
        raise ConfigError(f"--transform-graph {graph}: not a transform graph, it holds no directory transform_fn")
    from pipeline.console import output_to

    with output_to(Path(os.devnull)):
        import tensorflow_transform as tft

        from trainer_module.data.vocabularies import table_rows

        output = tft.TFTransformOutput(str(graph))
        counted = [table.name for table in spec.tables if not isinstance(table.vocabulary, HashBuckets)]
        missing = [name for name in counted if not output.vocabulary_file_by_name(name)]
        rows = {} if missing else table_rows(spec, output)
    if missing:
        raise ConfigError(
            f"{graph}: has no vocabulary of table(s) {', '.join(missing)}. Run `recspan pipeline run` with this "
            "experiment, or name another graph with --transform-graph"
        )
    return rows
