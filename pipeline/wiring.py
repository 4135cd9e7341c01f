"""The pipeline's wiring: which component reads whose outputs. All logic is in the components and in trainer_module."""

import os
from importlib import resources
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2

from components.curated_schema.component import CuratedSchema
from components.drift.component import DriftGate
from components.evaluation.component import RowKeepingEvaluator
from components.example_gen.component import TablesExampleGen, span_properties
from components.example_gen.config import DataConfig
from components.example_validator.component import StrictExampleValidator
from components.pusher.component import VerifyingPusher
from components.retrieval_index.component import RetrievalIndex
from components.run_report.component import RunReport
from components.statistics_gen.component import ColumnarStatisticsGen
from components.transform.component import GraphTransform
from pipeline.baseline import latest_blessed_model
from pipeline.config import PipelineConfig
from pipeline.evaluation import eval_config
from pipeline.job_options import DEFAULT_TRAIN_ARGS, TRAIN_ARGS
from pipeline.platforms import Platform
from pipeline.run_page.pages import Pages
from pipeline.wiring_names import (
    DRIFT_GATE,
    EVALUATOR,
    EXAMPLE_GEN,
    EXAMPLE_VALIDATOR,
    PUSHER,
    RUN_REPORT,
    STATISTICS_GEN,
    TRAINER,
    TRANSFORM,
)
from trainer_module.data.schema import check_schema, curated_schema, derive_schema
from trainer_module.data.spec import CANDIDATES, QUERIES, DatasetSpec
from trainer_module.errors import ConfigError
from trainer_module.source_hash import source_hash
from trainer_module.training.config import LAST_BLESSED

# Splits whose examples are not the rows that the curated schema describes.
_NOT_ROWS = (CANDIDATES, QUERIES)


def runtime_parameters(config: PipelineConfig) -> dict[str, int | str]:
    """Default values of the runtime parameters; `window` and `last_span` exist only where files have spans."""
    return {TRAIN_ARGS: DEFAULT_TRAIN_ARGS, **span_properties(config.data)}


def eval_splits(dataset: DatasetSpec) -> list[str]:
    """The splits that the Trainer gets beside the training split, in the order in which TFX gives it their files.

    TFX does not give it their names.
    """
    return ["eval", CANDIDATES] if dataset.task == "retrieval" else ["eval"]


def create_pipeline(config: PipelineConfig, platform: Platform, only_training: bool = False) -> Pipeline:
    """Wires the pipeline.

    Args:
        config: The experiment.
        platform: Where it runs.
        only_training: Whether the pipeline ends with the Trainer, as that of a trial does.

    Raises:
        ConfigError: The curated schema does not fit the dataset's feature spec, or the experiment's section
            `embeddings` does not.
    """
    dataset = config.dataset
    features = config.embeddings.applied_to(dataset.features)
    schema_text = _schema_text(dataset)
    # Components get no path of this machine: such a path would change their cache keys from machine to machine.
    portable_config = config.without_local_paths()

    example_gen = _example_gen(portable_config.data, platform).with_id(EXAMPLE_GEN)
    statistics_gen = ColumnarStatisticsGen(example_gen.outputs["examples"], _NOT_ROWS).with_id(STATISTICS_GEN)
    schema = CuratedSchema(schema_text=schema_text)
    components: list[Any] = [example_gen, statistics_gen, schema]
    pages = Pages(config, platform, only_training)
    validator = StrictExampleValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema.outputs["schema"],
        fail_on=config.validation.fail_on,
        **pages.of_refusal(EXAMPLE_VALIDATOR, components, statistics_gen, examples=example_gen.outputs["examples"]),
    ).with_id(EXAMPLE_VALIDATOR)
    components.append(validator)
    transform = GraphTransform(
        examples=example_gen.outputs["examples"], schema=schema.outputs["schema"], features=features
    ).with_id(TRANSFORM)
    transform.add_upstream_node(validator)
    drift_gate = None
    if config.drift:
        earlier_drift = platform.earlier_drift(example_gen.outputs["examples"]).with_id("EarlierDrift")
        trained_before = platform.blessed_before(example_gen.outputs["examples"]).with_id("BlessedBefore")
        drift_gate = DriftGate(
            examples=example_gen.outputs["examples"],
            earlier=earlier_drift.outputs["drift"],
            # A service's resolver finds the last output alone, which names the examples that were accepted.
            **({"accepted": earlier_drift.outputs["accepted"]} if "accepted" in earlier_drift.outputs else {}),
            model=trained_before.outputs["model"],
            features=dataset.features.for_preprocessing().model_dump_json(),
            config=config.drift.model_dump_json(),
            source_hash=source_hash("components.drift.component"),
            **pages.of_refusal(
                DRIFT_GATE,
                components,
                validator,
                statistics=statistics_gen.outputs["statistics"],
                anomalies=validator.outputs["anomalies"],
            ),
        ).with_id(DRIFT_GATE)
        drift_gate.add_upstream_node(validator)
        transform.add_upstream_node(drift_gate)
        components += [earlier_drift, trained_before, drift_gate]
    components.append(transform)
    earlier_model = None
    if config.training.warm_start == LAST_BLESSED:
        # Not the baseline's resolver, which looks at the candidate that is yet to be trained.
        earlier = latest_blessed_model().with_id("EarlierModel")
        components.append(earlier)
        earlier_model = earlier.outputs["model"]
    trainer = platform.trainer(
        run_fn="trainer_module.run_fn.run_fn",
        examples=example_gen.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        base_model=earlier_model,
        train_args=RuntimeParameter(name=TRAIN_ARGS, ptype=str, default=DEFAULT_TRAIN_ARGS),
        eval_args=trainer_pb2.EvalArgs(splits=eval_splits(dataset)),
        custom_config={
            "eval_splits": eval_splits(dataset),
            "experiment": portable_config.experiment.model_dump_json(),
            "checkpoints": platform.checkpoints,
            "source_hash": source_hash("trainer_module.run_fn"),
            **platform.trainer_config,
        },
    ).with_id(TRAINER)
    components.append(trainer)
    if only_training:
        return _pipeline(config, platform, components)
    model, judged_split = trainer.outputs["model"], "test"
    if dataset.task == "retrieval":
        index = RetrievalIndex(
            examples=example_gen.outputs["examples"],
            model=model,
            item_key=dataset.item_key,
            title_key=dataset.title_key,
            config=config.retrieval_index.model_dump_json(),
            quantize=config.export.quantize or "none",
            source_hash=source_hash("components.retrieval_index.component"),
        )
        components.append(index)
        model, judged_split = index.outputs["index"], QUERIES
    baseline = platform.baseline(model).with_id("Baseline")
    evaluator = RowKeepingEvaluator(
        examples=example_gen.outputs["examples"],
        model=model,
        baseline_model=baseline.outputs["model"],
        # The curated schema describes rows, not queries.
        schema=None if dataset.task == "retrieval" else schema.outputs["schema"],
        eval_config=eval_config(config.evaluation, dataset, config.predicted_labels, bool(config.export.quantize)),
        split=judged_split,
        dataset=dataset,
        heads=config.predicted_labels,
        cutoff=config.evaluation.list_lengths[0],
    ).with_id(EVALUATOR)
    components += [baseline, evaluator]
    # What pages show beside the inputs of the Pusher.
    shown = {
        "statistics": statistics_gen.outputs["statistics"],
        "anomalies": validator.outputs["anomalies"],
        "transform_graph": transform.outputs["transform_graph"],
        "model_run": trainer.outputs["model_run"],
        **({"drift": drift_gate.outputs["drift"]} if drift_gate else {}),
    }
    pusher = VerifyingPusher(
        examples=example_gen.outputs["examples"],
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        base_directory=platform.serving,
        config=portable_config.for_push().model_dump_json(),
        data_dir=platform.data,
        source_hash=source_hash("components.pusher.component"),
        **pages.of_refusal(PUSHER, components, evaluator, **shown),
    ).with_id(PUSHER)
    components.append(pusher)
    if platform.deployer:
        components.append(platform.deployer(pusher.outputs["pushed_model"]))
    # The last one: whatever becomes of it, the model has been judged and pushed.
    components.append(
        RunReport(
            examples=example_gen.outputs["examples"],
            model=model,
            evaluation=evaluator.outputs["evaluation"],
            pushed_model=pusher.outputs["pushed_model"],
            **shown,
            **pages.of_report(components),
        ).with_id(RUN_REPORT)
    )
    return _pipeline(config, platform, components)


def _pipeline(config: PipelineConfig, platform: Platform, components: list[Any]) -> Pipeline:
    for component in components:
        if isinstance(component.executor_spec, executor_spec.BeamExecutorSpec):
            component.with_beam_pipeline_args(platform.beam_args(component.id))
    return Pipeline(
        pipeline_name=config.pipeline_name,
        pipeline_root=platform.artifacts,
        components=components,
        enable_cache=config.cache,
        metadata_connection_config=platform.metadata,
    )


def _example_gen(data: DataConfig, platform: Platform) -> TablesExampleGen:
    """Returns the component that ingests the dataset."""
    parameters = {
        name: RuntimeParameter(name=name, ptype=int, default=default) for name, default in span_properties(data).items()
    }
    return TablesExampleGen(input_base=platform.data, data=data, tables_state=platform.tables_state(data), **parameters)


def _schema_text(dataset: DatasetSpec) -> str:
    """The curated schema, the user's own or the product's, or the one that follows from the columns.

    Raises:
        ConfigError: A user's file cannot be read or is no schema, or a schema does not fit the feature spec.
    """
    if not dataset.schema_file:
        return text_format.MessageToString(derive_schema(dataset))
    try:
        # A user's file is named by an absolute path, which joins to itself.
        text = resources.files("schema").joinpath(dataset.schema_file).read_text()
        schema = text_format.Parse(text, schema_pb2.Schema())
    except (OSError, text_format.ParseError) as error:
        raise ConfigError(f"data.schema_file: {dataset.schema_file} cannot be read as a schema ({error})") from None
    if os.path.isabs(dataset.schema_file):
        check_schema(dataset.features, schema, dataset.schema_file)
        return text
    return text_format.MessageToString(curated_schema(dataset, schema))
