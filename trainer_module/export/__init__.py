"""From a trained model to a SavedModel that plain TensorFlow serves on a CPU.

`routes` chooses a way by a memory `forecast` and takes it; `restore` fills a serving copy from the training checkpoint;
`serving` writes signatures and variables; `parity` leaves behind what the export must answer.
"""
