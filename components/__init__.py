"""Custom TFX components, one package each, with the pure part apart from the TFX part."""

import trainer_module  # noqa: F401  (selects Keras 2 before any component imports TensorFlow)
