"""The three ways from a trained model to a SavedModel, and the choice between them."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer_module.blueprint import Blueprint
from trainer_module.data.features import Categorical
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.vocabularies import check_fingerprints, read_fingerprints
from trainer_module.embeddings.layer import Features
from trainer_module.errors import ModelError
from trainer_module.export.config import ExportConfig, Route
from trainer_module.export.forecast import Forecast, slot_bytes, subset_tables, table_bytes
from trainer_module.export.memory import PeakMemory, available_bytes, resident_bytes
from trainer_module.export.restore import restore_copy, restore_tables
from trainer_module.export.serving import Signature, columns_of, look_up_on_cpu, save, tables_of
from trainer_module.models.signatures import BY_EXAMPLE, EMBED, Served

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Attributes:
        checkpoint: Path prefix of the weights.
        model: The training model, if it lives in this process, restored from `checkpoint` just before, so that the
            host's copies of tables in an embedding engine are current. Its `embedding` is the layer with the tables;
            `served` lists what it answers.
        strategy: Under which it was made.
    """

    checkpoint: str
    model: tf.keras.Model | None = None
    strategy: tf.distribute.Strategy | None = None


@dataclass(frozen=True)
class ExportReport:
    """What an export took.

    Attributes:
        route: Taken.
        table_bytes: Of the exported tables.
        resident_bytes: Of the process before.
        forecast_bytes: Largest resident memory that was forecast.
        peak_bytes: Largest resident memory that was measured; None where the kernel does not tell.
        seconds: Wall clock.
    """

    route: Route
    table_bytes: int
    resident_bytes: int
    forecast_bytes: int
    peak_bytes: int | None
    seconds: float


def export(
    config: ExportConfig,
    blueprint: Blueprint,
    trained: Trained,
    model_inputs: ModelInputs,
    features: Features,
    directory: str,
) -> ExportReport:
    """Writes a SavedModel by the configured route.

    Args:
        config: Route, and the features of a subset.
        blueprint: Builds the copy.
        trained: What is exported.
        model_inputs: Raw columns to model inputs.
        features: One batch of model inputs.
        directory: Where to write.

    Raises:
        ModelError: The copy could not be proved restored, or there is no training model to be exported directly, or
            its tables cannot be read on a CPU.
        ConfigError: A feature of the subset is unknown.
    """
    forecast = make_forecast(config, blueprint)
    route = forecast.choose(config, model_lives_here=trained.model is not None)
    _log.info(forecast.describe(route))
    started = time.monotonic()
    with PeakMemory() as memory:
        if route == "checkpoint":
            from_checkpoint(blueprint, trained.checkpoint, model_inputs, features, directory)
        elif route == "direct":
            from_training(blueprint, trained, model_inputs, directory)
        else:
            subset(config.features, blueprint, trained.checkpoint, model_inputs, directory)
    seconds = time.monotonic() - started
    measured = "not measured" if memory.peak_bytes is None else f"{memory.peak_bytes / 1e9:.2f} GB"
    _log.info("exported to %s in %.1f s; peak memory %s", directory, seconds, measured)
    return ExportReport(
        route=route,
        table_bytes=forecast.table_bytes,
        resident_bytes=forecast.resident_bytes,
        forecast_bytes=forecast.peak_bytes(route),
        peak_bytes=memory.peak_bytes,
        seconds=seconds,
    )


def make_forecast(config: ExportConfig, blueprint: Blueprint) -> Forecast:
    """What an export would take in this process, now."""
    spec, experiment = blueprint.spec, blueprint.experiment
    tables = table_bytes(spec, blueprint.rows, experiment.embeddings)
    exported = subset_tables(spec, config.features) if config.route == "subset" else set(tables)
    return Forecast(
        table_bytes=sum(tables[name] for name in exported),
        slot_bytes=slot_bytes(spec, tables, experiment.training),
        resident_bytes=resident_bytes(),
        available_bytes=available_bytes(),
    )


def from_checkpoint(
    blueprint: Blueprint, checkpoint: str, model_inputs: ModelInputs, features: Features, directory: str
) -> None:
    """Route `checkpoint`: a copy in the default scope, without optimizer slots, restored and proved."""
    _check_vocabularies(blueprint, checkpoint)
    copy = blueprint.for_serving()
    restore_copy(copy, checkpoint, features)
    tables = tables_of(copy.embedding, blueprint.spec.inputs)
    signatures = _signatures(blueprint, copy, tables)
    save(signatures, tables, _other_variables(copy), model_inputs, directory, blueprint.fingerprints)


def from_training(blueprint: Blueprint, trained: Trained, model_inputs: ModelInputs, directory: str) -> None:
    """Route `direct`: the training model's own variables, under its strategy; lookups by `serving_config`."""
    model, strategy = trained.model, trained.strategy
    if model is None or strategy is None:
        raise ModelError(
            "export.route direct saves the training model itself, which does not live in this process; take checkpoint"
        )
    tables = tables_of(model.embedding, blueprint.spec.inputs)
    with strategy.scope():
        signatures = _signatures(blueprint, model, tables)
        save(signatures, tables, _other_variables(model), model_inputs, directory, blueprint.fingerprints)


def subset(
    features: tuple[str, ...], blueprint: Blueprint, checkpoint: str, model_inputs: ModelInputs, directory: str
) -> None:
    """Route `subset`: embeddings of some columns, by name, from their tables alone.

    The second signature is called `embed`; outputs are `[batch, dim]`, or `[batch, length, dim]` for sequences.
    """
    columns = columns_of(blueprint.spec, features)
    _check_vocabularies(blueprint, checkpoint)
    layer = blueprint.embedding_for_serving(features)
    restore_tables(layer, checkpoint)
    tables = tables_of(layer, columns)
    kept = {name: blueprint.fingerprints[name] for name in tables if name in blueprint.fingerprints}

    def answer(inputs: Features) -> dict[str, tf.Tensor]:
        return embeddings(tables, blueprint, features, inputs)

    signatures = [Signature(BY_EXAMPLE, columns, answer, True), Signature(EMBED, columns, answer, False)]
    save(signatures, tables, [], model_inputs, directory, kept)


def expected_answers(
    config: ExportConfig,
    blueprint: Blueprint,
    model: tf.keras.Model,
    predict: Callable[[ExampleReader, int], Any],
    sample: ExampleReader,
) -> dict[str, dict[str, np.ndarray]]:
    """What the training model answers to the parity sample, by signature and output name.

    Args:
        config: A subset is answered from the tables of the training model, all else by `predict`.
        blueprint: Gives the columns.
        model: The training model.
        predict: Its predictions, under its strategy, for the first so many examples.
        sample: The examples.
    """
    if config.route != "subset":
        predicted = predict(sample, sample.num_examples)
        return {served.name: served.expected(predicted) for served in model.served}
    inputs = sample.features(sample.head(sample.num_examples))
    tables = tables_of(model.embedding, columns_of(blueprint.spec, config.features))
    answers = embeddings(tables, blueprint, config.features, inputs)
    return {key: {name: answer.numpy() for name, answer in answers.items()} for key in (BY_EXAMPLE, EMBED)}


def embeddings(
    tables: Mapping[str, tf.Variable], blueprint: Blueprint, features: tuple[str, ...], inputs: Features
) -> dict[str, tf.Tensor]:
    """What the `subset` route serves: per column `[batch, dim]`, or `[batch, length, dim]` for sequences."""
    columns = [column for column in blueprint.spec.categorical if column.name in features]
    looked_up = look_up_on_cpu(tables, blueprint.spec, columns, inputs)
    return {
        column.name: looked_up[column.name]
        if column.max_sequence_length
        else tf.reshape(looked_up[column.name], [-1, looked_up[column.name].shape[-1]])
        for column in columns
    }


def _signatures(blueprint: Blueprint, model: tf.keras.Model, tables: Mapping[str, tf.Variable]) -> list[Signature]:
    """What a whole model answers, with lookups on a CPU."""

    def signature(served: Served) -> Signature:
        looked_up = [column for column in served.columns if isinstance(column, Categorical)]

        def answer(inputs: Features) -> Mapping[str, tf.Tensor]:
            return served.answer(look_up_on_cpu(tables, blueprint.spec, looked_up, inputs), inputs)

        return Signature(served.name, served.columns, answer, served.serialized)

    return [signature(served) for served in model.served]


def _check_vocabularies(blueprint: Blueprint, checkpoint: str) -> None:
    """Raises a `ModelError` if the checkpoint's rows stand for other tokens."""
    if blueprint.fingerprints:
        check_fingerprints(blueprint.fingerprints, read_fingerprints(checkpoint), checkpoint)


def _other_variables(model: tf.keras.Model) -> list[tf.Variable]:
    """All variables of a model that do not belong to its embedding layer."""
    embedding = {id(variable) for variable in model.embedding.variables}
    return [variable for variable in model.variables if id(variable) not in embedding]
