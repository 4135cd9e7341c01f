"""The two towers, as the Trainer exported them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer_module.errors import ModelError
from trainer_module.models.signatures import EMBED_CANDIDATES, EMBED_QUERIES, EMBED_QUERY, EMBEDDING


@dataclass(frozen=True)
class Towers:
    """The signatures of a two-tower SavedModel.

    Attributes:
        model: The loaded model, which must outlive its signatures.
        directory: Where it came from.
    """

    model: Any
    directory: str

    @property
    def query_columns(self) -> list[tf.TensorSpec]:
        """What `embed_query` takes, one tensor per column."""
        return list(self.model.signatures[EMBED_QUERY].structured_input_signature[1].values())

    @property
    def query_trackables(self) -> list[Any]:
        """Variables, vocabularies and their files that a query's vector depends on, and no others."""
        captured = {
            id(tensor)
            for name in (EMBED_QUERIES, EMBED_QUERY)
            for tensor in self.model.signatures[name].captured_inputs
        }
        return [child for child in tf.train.TrackableView(self.model).descendants() if id(_tensor(child)) in captured]

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
        ModelError: It is no two-tower model.
    """
    model = tf.saved_model.load(directory)
    if missing := {EMBED_QUERIES, EMBED_QUERY, EMBED_CANDIDATES} - set(model.signatures):
        raise ModelError(
            f"the model in {directory} has no signature {', '.join(sorted(missing))}, only "
            f"{', '.join(sorted(model.signatures))}; an index needs model.type two_tower"
        )
    return Towers(model, directory)


def on_batches(tower: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[Sequence[bytes]], np.ndarray]:
    """A tower that takes lists of serialized examples and answers arrays."""
    return lambda examples: tower(tf.constant(examples, tf.string)).numpy()


def _tensor(trackable: Any) -> Any:
    """What a function captures of a variable, a table or a file; None of anything else."""
    names = "handle", "resource_handle", "asset_path"
    return next((getattr(trackable, name) for name in names if hasattr(trackable, name)), None)
