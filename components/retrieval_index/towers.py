"""Loads the two towers that the Trainer exported."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainer_module.errors import ModelError
from trainer_module.models.signatures import EMBED_CANDIDATES, EMBED_QUERIES, EMBED_QUERY, EMBEDDING


@dataclass(frozen=True)
class Towers:
    """A two-tower SavedModel and its signatures as methods.

    Attributes:
        model: The loaded model. Its signatures work only while it exists.
        directory: Directory of the model.
    """

    model: Any
    directory: str

    @property
    def query_columns(self) -> list[tf.TensorSpec]:
        """Inputs of `embed_query`, one tensor per column."""
        return list(self.model.signatures[EMBED_QUERY].structured_input_signature[1].values())

    @property
    def query_trackables(self) -> list[Any]:
        """Exactly the variables, vocabularies and vocabulary files that a query's vector depends on."""
        return captured_by(self.model, (EMBED_QUERIES, EMBED_QUERY))

    def query(self, **columns: tf.Tensor) -> tf.Tensor:
        """Vectors `[batch, dim]` of queries, from one tensor per column."""
        return self.model.signatures[EMBED_QUERY](**columns)[EMBEDDING]

    def queries(self, examples: tf.Tensor) -> tf.Tensor:
        """Vectors `[batch, dim]` of queries, from serialized examples `[batch]`."""
        return self.model.signatures[EMBED_QUERIES](examples=examples)[EMBEDDING]

    def candidates(self, examples: tf.Tensor) -> tf.Tensor:
        """Vectors `[batch, dim]` of candidates, from serialized examples `[batch]`."""
        return self.model.signatures[EMBED_CANDIDATES](examples=examples)[EMBEDDING]


def load_towers(directory: str) -> Towers:
    """Loads the SavedModel of a two-tower model.

    Raises:
        ModelError: The model is not a two-tower model.
    """
    model = tf.saved_model.load(directory)
    if missing := {EMBED_QUERIES, EMBED_QUERY, EMBED_CANDIDATES} - set(model.signatures):
        raise ModelError(
            f"the model in {directory} has no signature {', '.join(sorted(missing))}, only "
            f"{', '.join(sorted(model.signatures))}; an index needs model.type two_tower"
        )
    return Towers(model, directory)


def captured_by(model: Any, names: Iterable[str]) -> list[Any]:
    """The variables, vocabularies and files that signatures of a loaded model read."""
    captured = {id(tensor) for name in names for tensor in model.signatures[name].captured_inputs}
    return [child for child in tf.train.TrackableView(model).descendants() if id(_tensor(child)) in captured]


def _tensor(trackable: Any) -> Any:
    """The tensor by which a function captures a variable, a table or a file; None for other objects."""
    names = "handle", "resource_handle", "asset_path"
    return next((getattr(trackable, name) for name in names if hasattr(trackable, name)), None)
