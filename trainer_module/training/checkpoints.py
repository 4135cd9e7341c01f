"""What a training leaves behind while it runs: its latest states, to go on from, and the best weights."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import tensorflow as tf

from trainer_module.data.vocabularies import VocabularyState
from trainer_module.errors import ModelError
from trainer_module.training.config import TrainingConfig
from trainer_module.training.split_optimizer import SplitOptimizer

_BEST = "best"


@dataclass(frozen=True)
class Progress:
    """How far a training has come, apart from its variables.

    Attributes:
        step: Steps taken.
        best_step: Step of the best weights; 0 before the first evaluation.
        best_metrics: Of the best weights, on the selection split.
    """

    step: int = 0
    best_step: int = 0
    best_metrics: Mapping[str, float] = field(default_factory=dict)


class _ProgressState(tf.train.experimental.PythonState):
    """Carries `Progress` inside a checkpoint, so that the two cannot be separated."""

    def __init__(self):
        self.value = Progress()

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.value))

    def deserialize(self, string_value: bytes) -> None:
        self.value = Progress(**json.loads(string_value))


class Checkpoints:
    """The latest checkpoints and the best weights, in one directory.

    TensorFlow writes a checkpoint under temporary names and renames it when it is complete, so a process may be killed
    at any time. The best weights are written before the checkpoint that mentions them and their predecessor is deleted
    after it, so that every checkpoint finds its best weights.
    """

    def __init__(
        self,
        directory: str,
        model: tf.keras.Model,
        optimizer: SplitOptimizer,
        config: TrainingConfig,
        fingerprints: Mapping[str, str],
        worker: int = 0,
    ):
        """Prepares the directory.

        Args:
            directory: Of this one training; a later process that trains the same goes on from there.
            model: Its variables, and those of `optimizer`, must exist before `resume`.
            optimizer: With its slots and its step.
            config: How many to keep, and whether to write in the background.
            fingerprints: Of the vocabularies, by table; a checkpoint made with others is refused.
            worker: Index of this process among those that train together. All take part in every save, and those
                above 0 write to a place of their own, which nobody reads.
        """
        self._state = _ProgressState()
        self._weights = tf.train.Checkpoint(model=model)
        # With the slots, so that a later training can start from it.
        vocabularies = VocabularyState(fingerprints)
        self._best = tf.train.Checkpoint(model=model, optimizer=optimizer, vocabularies=vocabularies)
        self._latest = tf.train.Checkpoint(
            model=model, optimizer=optimizer, vocabularies=vocabularies, progress=self._state
        )
        self._shared = directory
        self._directory = f"{directory}/worker-{worker}" if worker else directory
        self._manager = tf.train.CheckpointManager(self._latest, self._directory, config.keep_checkpoints)
        self._options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=config.async_checkpoints)

    def resume(self) -> Progress:
        """Restores the latest state, if there is one, and says how far it had come.

        Raises:
            AssertionError: The checkpoint lacks a variable.
            ModelError: It was trained with other vocabularies (names the tables), or it is damaged.
        """
        if latest := tf.train.latest_checkpoint(self._shared):
            try:
                status = self._latest.read(latest)
            except (tf.errors.OpError, IndexError) as error:
                raise ModelError(
                    f"{latest}: the checkpoint is damaged or cut short. Remove {self._shared}; the same command then "
                    "trains from the start"
                ) from error
            status.assert_existing_objects_matched()
        return self._state.value

    def save(self, progress: Progress) -> None:
        """Writes the current state."""
        # What is being written in the background must not see the new progress, and needs its best weights.
        self.wait()
        needed = {progress.best_step}
        if self._options.experimental_enable_async_checkpoint:
            needed.add(self._state.value.best_step)
        self._state.value = progress
        self._manager.save(checkpoint_number=progress.step, options=self._options)
        for step in self._best_steps() - needed:
            for file in tf.io.gfile.glob(f"{self._best_prefix(step)}.*"):
                tf.io.gfile.remove(file)

    def wait(self) -> None:
        """Returns once all writing in the background has ended."""
        self._latest.sync()

    def save_best(self, step: int) -> None:
        """Writes the current weights, and the optimizers' slots, as the best so far."""
        self._best.write(self._best_prefix(step))

    def restore_best(self, step: int) -> None:
        """Puts the best weights back into the model, once all writing in the background has ended."""
        self.wait()
        prefix = self._best_prefix(step)
        if not tf.io.gfile.exists(f"{prefix}.index"):  # of another worker, before this one was resumed
            prefix = self._best_prefix(step, self._shared)
        status = self._weights.read(prefix).assert_existing_objects_matched()
        status.expect_partial()  # the slots stay behind

    def export_best(self, step: int, prefix: str) -> None:
        """Copies the best weights and slots to a place that outlives this directory."""
        tf.io.gfile.makedirs(os.path.dirname(prefix))
        source = self._best_prefix(step)
        for file in tf.io.gfile.glob(f"{source}.*"):
            tf.io.gfile.copy(file, prefix + file.removeprefix(source), overwrite=True)

    def _best_prefix(self, step: int, directory: str | None = None) -> str:
        """Path prefix of the best weights."""
        return f"{directory or self._directory}/{_BEST}-{step}"

    def _best_steps(self) -> set[int]:
        files = tf.io.gfile.glob(f"{self._directory}/{_BEST}-*.index")
        return {int(file.removesuffix(".index").rpartition("-")[2]) for file in files}
