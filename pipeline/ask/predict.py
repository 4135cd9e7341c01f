"""Asks a pushed ranking model for ratings, or for probabilities of a click."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tfx_bsl.coders import example_coder

from components.pusher.verify import request_columns
from pipeline.ask.requests import Given, Requests
from pipeline.ask.versions import data_config, load_model, raw_directory, read_summary
from trainer_module.errors import ConfigError, ModelError
from trainer_module.models.signatures import ranked_by


class Predictor:
    """A pushed ranking model beside the raw files that its inputs come from."""

    def __init__(
        self, model_dir: Path, data_dir: Path | None = None, users: Sequence[str] = (), items: Sequence[str] = ()
    ):
        """Reads the files; the model is loaded by the first question.

        Args:
            model_dir: A pushed version.
            data_dir: Holds the raw files; None means where the model's data came from.
            users: Identifiers that will be asked for.
            items: The same for items, also those of a given history.

        Raises:
            DataError: The data is not there.
            ModelError: The directory holds no pushed version, or one that retrieves.
        """
        summary = read_summary(model_dir)
        config = data_config(summary)
        if config.described().task == "retrieval":
            raise ModelError(f"{model_dir} finds items and predicts nothing of a pair; ask `recspan recommend`")
        self._model_dir = model_dir
        self.requests = Requests(raw_directory(summary, data_dir), config, users, items)

    @cached_property
    def _model(self) -> Any:
        return load_model(self._model_dir, "predict")

    def predict(self, users: Sequence[str], items: Sequence[str], given: Given | None = None) -> np.ndarray:
        """What orders items, see `score`, float32 `[pairs]`; arguments and errors are those of `request`."""
        return self.score(self.request(users, items, given))

    def request(self, users: Sequence[str], items: Sequence[str], given: Given | None = None) -> pa.RecordBatch:
        """The model's inputs for pairs.

        Args:
            users: Identifiers; empty where interactions name no users.
            items: The same for items.
            given: Context of the request, attributes and history of an unknown user.

        Raises:
            ConfigError: User or item is missing, or a given value is of no input.
        """
        dataset = self.requests.dataset
        for role, key, tokens in (("user", dataset.user_key, users), ("item", dataset.item_key, items)):
            if bool(key) != bool(tokens):
                raise ConfigError(
                    f"name the {role} with --{role}" if key else f"the data has no {role}; leave --{role} out"
                )
        return self.requests.pairs(users, items, given)

    def score(self, request: pa.RecordBatch) -> np.ndarray:
        """What orders items: the prediction, or the final score of a model of several goals; float32 `[pairs]`."""
        return ranked_by(self.outputs(request))

    def outputs(self, request: pa.RecordBatch) -> dict[str, np.ndarray]:
        """Answers of the signature `predict` to what `request` returns, by output, float32 `[pairs]` each."""
        signature = self._model.signatures["predict"]
        serialized = example_coder.RecordBatchToExamplesEncoder().encode(request)
        answers = signature(**request_columns(serialized, signature.structured_input_signature[1]))
        return {name: answer.numpy().reshape(-1) for name, answer in answers.items()}
