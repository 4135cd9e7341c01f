"""Everything that defines a model: feature specs, preprocessing, embeddings, the training loop, export.

Every other package of the product imports this one, so what TensorFlow reads of the environment is set here, once.
TensorFlow Recommenders 0.7.7 is written for Keras 2, and TensorFlow picks its Keras when it is first imported.
"""

import os
import sys

from trainer_module.errors import SetupError

KERAS_SWITCH = "TF_USE_LEGACY_KERAS"
# TensorFlow reads it when it allocates the first tensor, so it may have been imported before.
_ALLOCATOR_SWITCH = "TF_ONEDNN_USE_SYSTEM_ALLOCATOR"


def _require_legacy_keras() -> None:
    """Selects Keras 2 for this process and the processes that it starts.

    Raises:
        SetupError: TensorFlow was already imported without the switch, so that Keras 3 may be in use.
    """
    if "tensorflow" not in sys.modules:
        os.environ[KERAS_SWITCH] = "1"
    elif (value := os.environ.get(KERAS_SWITCH)) not in ("1", "true", "True"):
        raise SetupError(
            f"{KERAS_SWITCH} is {value!r}, but TensorFlow Recommenders needs Keras 2 from the first import of "
            f"TensorFlow on. Run `export {KERAS_SWITCH}=1` and start again, or import trainer_module before "
            "tensorflow."
        )


def _give_memory_back() -> None:
    """Lets tensors be allocated by the C library, unless the environment says otherwise.

    TensorFlow's own allocator on CPUs with oneDNN keeps what it once had to the end of the process: a component would
    inherit the peak of all earlier ones (https://github.com/tensorflow/tensorflow/pull/54169).
    """
    os.environ.setdefault(_ALLOCATOR_SWITCH, "true")


_require_legacy_keras()
_give_memory_back()
