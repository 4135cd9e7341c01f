"""The three ways from a trained model to a SavedModel, and the choice between them."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from trainer_module.blueprint import Blueprint
from trainer_module.data.features import Categorical
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.vocabularies import check_fingerprints, read_fingerprints
from trainer_module.embeddings.layer import Features
from trainer_module.errors import ModelError
from trainer_module.export.config import ExportConfig, Route
from trainer_module.export.forecast import Forecast, quantized_bytes, slot_bytes, subset_tables, table_bytes
from trainer_module.export.memory import PeakMemory, available_bytes, resident_bytes
from trainer_module.export.parity import Answers, Tolerance, check_answers, largest_change
from trainer_module.export.quantization import QuantizedTable
from trainer_module.export.restore import restore_copy, restore_tables
from trainer_module.export.serving import (
    ServedTable,
    Signature,
    columns_of,
    look_up_on_cpu,
    save,
    saved_bytes,
    tables_of,
)
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
        table_bytes: Of the exported tables in float32.
        resident_bytes: Of the process before.
        forecast_bytes: Largest resident memory that was forecast.
        peak_bytes: Largest resident memory that was measured; None where the kernel does not tell.
        seconds: Wall clock.
        saved_bytes: Of all files of the SavedModel.
        quantize: As configured.
        quantized_bytes: Of the exported tables as int8 rows with their scales; 0 if they are not quantized.
    """

    route: Route
    table_bytes: int
    resident_bytes: int
    forecast_bytes: int
    peak_bytes: int | None
    seconds: float
    saved_bytes: int
    quantize: Literal["int8"] | None
    quantized_bytes: int


@dataclass(frozen=True)
class ServingModel:
    """What a SavedModel is written from.

    Attributes:
        tables: Embedding tables by name.
        signatures_from: From such tables to what the model answers.
        dense: All other variables that the answers read.
        fingerprints: Of the vocabularies, by table.
        scope: Strategy under which it is saved.
    """

    tables: Mapping[str, ServedTable]
    signatures_from: Callable[[Mapping[str, ServedTable]], list[Signature]]
    dense: list[tf.Variable]
    fingerprints: Mapping[str, str]
    scope: tf.distribute.Strategy

    def quantized(self) -> "ServingModel":
        """The same model with tables of int8 rows. This one's tables keep float32, with the values of those rows."""
        tables = {name: QuantizedTable.rounding(table, name) for name, table in self.tables.items()}
        return ServingModel(tables, self.signatures_from, self.dense, self.fingerprints, self.scope)

    def answers(self, inputs: Features) -> Answers:
        """By signature and output name, what the model answers to model inputs."""
        signatures = self.signatures_from(self.tables)
        return {
            signature.name: {name: value.numpy() for name, value in signature.answer(inputs).items()}
            for signature in signatures
        }

    def save(self, model_inputs: ModelInputs, directory: str) -> None:
        """Writes the SavedModel; see `serving.save`."""
        with self.scope.scope():
            signatures = self.signatures_from(self.tables)
            save(signatures, self.tables, self.dense, model_inputs, directory, self.fingerprints)


@dataclass(frozen=True)
class QuantizedExport:
    """A quantized export and the float32 one beside it.

    Attributes:
        report: What the export took.
        answers: What the quantized export must answer to the parity sample, by signature and output name.
        largest_change: By signature and output name, the largest change of an answer by quantization.
    """

    report: ExportReport
    answers: Answers
    largest_change: dict[str, float]


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
        config: Route, the features of a subset, quantization.
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

    def write(model: ServingModel) -> None:
        (model.quantized() if config.quantize else model).save(model_inputs, directory)

    return _measured(config, blueprint, trained, features, write, directory)


def export_quantized(
    config: ExportConfig,
    blueprint: Blueprint,
    trained: Trained,
    model_inputs: ModelInputs,
    sample: ExampleReader,
    expected: Answers,
    tolerance: Tolerance,
    directory: str,
    float32_directory: str,
) -> QuantizedExport:
    """Writes a SavedModel with quantized tables, and one with the float32 tables for comparisons.

    Quantization changes answers by more than parity allows, so parity is proved in two steps. Here, the float32 copy
    must answer the sample as the training model does. Then its tables take the values that the int8 rows stand for, and
    its answers become what the quantized SavedModel must answer, within the tolerance of float32.

    Args:
        config: Route `auto`, `checkpoint` or `subset`, with quantization.
        blueprint: As for `export`.
        trained: As for `export`.
        model_inputs: As for `export`.
        sample: The parity sample.
        expected: What the training model answers to it.
        tolerance: How far the float32 copy may differ from that.
        directory: Where to write the quantized model.
        float32_directory: Where to write the float32 model.

    Raises:
        ModelError: As `export`; or the float32 copy answers otherwise than the training model.
        ConfigError: As `export`.
    """
    inputs = sample.features(sample.head(sample.num_examples))
    answers: dict[str, dict[str, np.ndarray]] = {}
    change: dict[str, float] = {}

    def write(model: ServingModel) -> None:
        exact = model.answers(inputs)
        check_answers("the float32 copy of the model", exact, expected, tolerance)
        model.save(model_inputs, float32_directory)
        quantized = model.quantized()
        answers.update(model.answers(inputs))
        change.update(largest_change(exact, answers))
        quantized.save(model_inputs, directory)

    report = _measured(config, blueprint, trained, inputs, write, directory)
    _log.info("quantization changes answers to the parity sample by at most %s", change)
    return QuantizedExport(report, answers, change)


def _measured(
    config: ExportConfig,
    blueprint: Blueprint,
    trained: Trained,
    features: Features,
    write: Callable[[ServingModel], None],
    directory: str,
) -> ExportReport:
    """Takes the configured route up to `write`, which fills `directory`, and measures both."""
    forecast = make_forecast(config, blueprint)
    route = forecast.choose(config, model_lives_here=trained.model is not None)
    _log.info(forecast.describe(route))
    started = time.monotonic()
    with PeakMemory() as memory:
        if route == "checkpoint":
            model = from_checkpoint(blueprint, trained.checkpoint, features)
        elif route == "direct":
            model = from_training(blueprint, trained)
        else:
            model = subset(config.features, blueprint, trained.checkpoint)
        write(model)
    seconds, saved = time.monotonic() - started, saved_bytes(directory)
    measured = "not measured" if memory.peak_bytes is None else f"{memory.peak_bytes / 1e9:.2f} GB"
    _log.info("exported to %s (%.2f MB) in %.1f s; peak memory %s", directory, saved / 1e6, seconds, measured)
    if config.quantize:
        _log.info(
            "tables as int8 rows take %.2f MB; as float32 they took %.2f MB",
            forecast.quantized_bytes / 1e6,
            forecast.table_bytes / 1e6,
        )
    return ExportReport(
        route=route,
        table_bytes=forecast.table_bytes,
        resident_bytes=forecast.resident_bytes,
        forecast_bytes=forecast.peak_bytes(route),
        peak_bytes=memory.peak_bytes,
        seconds=seconds,
        saved_bytes=saved,
        quantize=config.quantize,
        quantized_bytes=forecast.quantized_bytes,
    )


def make_forecast(config: ExportConfig, blueprint: Blueprint) -> Forecast:
    """What an export would take in this process, now."""
    spec, experiment = blueprint.spec, blueprint.experiment
    tables = table_bytes(spec, blueprint.rows, experiment.embeddings)
    exported = subset_tables(spec, config.features) if config.route == "subset" else set(tables)
    quantized = quantized_bytes(spec, blueprint.rows, experiment.embeddings) if config.quantize else {}
    return Forecast(
        table_bytes=sum(tables[name] for name in exported),
        slot_bytes=slot_bytes(spec, tables, experiment.training),
        resident_bytes=resident_bytes(),
        available_bytes=available_bytes(),
        quantized_bytes=sum(quantized[name] for name in exported & quantized.keys()),
    )


def from_checkpoint(blueprint: Blueprint, checkpoint: str, features: Features) -> ServingModel:
    """Route `checkpoint`: a copy in the default scope, without optimizer slots, restored and proved."""
    _check_vocabularies(blueprint, checkpoint)
    copy = blueprint.for_serving()
    restore_copy(copy, checkpoint, features)
    return _whole(blueprint, copy)


def from_training(blueprint: Blueprint, trained: Trained) -> ServingModel:
    """Route `direct`: the training model's own variables, under its strategy; lookups by `serving_config`."""
    if trained.model is None or trained.strategy is None:
        raise ModelError(
            "export.route direct saves the training model itself, which does not live in this process; take checkpoint"
        )
    return _whole(blueprint, trained.model, trained.strategy)


def subset(features: tuple[str, ...], blueprint: Blueprint, checkpoint: str) -> ServingModel:
    """Route `subset`: embeddings of some columns, by name, from their tables alone.

    The second signature is called `embed`; outputs are `[batch, dim]`, or `[batch, length, dim]` for sequences.
    """
    columns = columns_of(blueprint.spec, features)
    _check_vocabularies(blueprint, checkpoint)
    layer = blueprint.embedding_for_serving(features)
    restore_tables(layer, checkpoint)

    def signatures_from(tables: Mapping[str, ServedTable]) -> list[Signature]:
        def answer(inputs: Features) -> dict[str, tf.Tensor]:
            return embeddings(tables, blueprint, features, inputs)

        return [Signature(BY_EXAMPLE, columns, answer, True), Signature(EMBED, columns, answer, False)]

    tables = tables_of(layer, columns)
    kept = {name: blueprint.fingerprints[name] for name in tables if name in blueprint.fingerprints}
    return ServingModel(tables, signatures_from, [], kept, tf.distribute.get_strategy())


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
    tables: Mapping[str, ServedTable], blueprint: Blueprint, features: tuple[str, ...], inputs: Features
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


def _whole(blueprint: Blueprint, model: tf.keras.Model, strategy: tf.distribute.Strategy | None = None) -> ServingModel:
    """A whole model, with lookups on a CPU."""

    def signatures_from(tables: Mapping[str, ServedTable]) -> list[Signature]:
        return [_signature(served, blueprint, tables) for served in model.served]

    tables = tables_of(model.embedding, blueprint.spec.inputs)
    scope = strategy or tf.distribute.get_strategy()
    return ServingModel(tables, signatures_from, _other_variables(model), blueprint.fingerprints, scope)


def _signature(served: Served, blueprint: Blueprint, tables: Mapping[str, ServedTable]) -> Signature:
    looked_up = [column for column in served.columns if isinstance(column, Categorical)]

    def answer(inputs: Features) -> Mapping[str, tf.Tensor]:
        return served.answer(look_up_on_cpu(tables, blueprint.spec, looked_up, inputs), inputs)

    return Signature(served.name, served.columns, answer, served.serialized)


def _check_vocabularies(blueprint: Blueprint, checkpoint: str) -> None:
    """Raises a `ModelError` if the checkpoint's rows stand for other tokens."""
    if blueprint.fingerprints:
        check_fingerprints(blueprint.fingerprints, read_fingerprints(checkpoint), checkpoint)


def _other_variables(model: tf.keras.Model) -> list[tf.Variable]:
    """All variables of a model that do not belong to its embedding layer."""
    embedding = {id(variable) for variable in model.embedding.variables}
    return [variable for variable in model.variables if id(variable) not in embedding]
