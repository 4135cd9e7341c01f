"""A training in a process of its own, for tests that end it: `python -m ... ARGUMENTS` (JSON).

TensorFlow is imported once; every run is a fork made before TensorFlow starts its runtime, which saves its import.
Prints one JSON line per run: exit code (negative: signal) and, if the training ended by itself, what it came to.
"""

import hashlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

import trainer_module  # noqa: F401 (selects Keras 2)

import tensorflow as tf  # isort: skip
import tensorflow_transform as tft

from tests.trainer_module.conftest import GOALS, MULTI_TASK
from trainer_module.blueprint import Blueprint
from trainer_module.data.features import FeatureSpec
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.row_store import Limits
from trainer_module.data.spec import DatasetSpec
from trainer_module.data.vocabularies import Vocabularies
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import Preempted
from trainer_module.experiment import Experiment
from trainer_module.models.config import RatingModelConfig
from trainer_module.models.objectives import Rating
from trainer_module.training.checkpoints import Checkpoints
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import make_strategy
from trainer_module.training.loop import TrainingLoop

PREEMPTED = 3


class SignalAt(logging.Handler):
    """Sends this process a signal as soon as it reports a step."""

    def __init__(self, step: int, number: int):
        super().__init__()
        self._text, self._number = f"step {step} of", number

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self._text):
            os.kill(os.getpid(), self._number)


def kill_in_save(after_weights: bool) -> None:
    """Makes the second save of a state deadly: before anything is written, or when all but the last step is done."""
    save, manager_save, calls = Checkpoints.save, tf.train.CheckpointManager.save, []

    def deadly_save(self, progress):
        calls.append(progress)
        if len(calls) == 2 and not after_weights:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, progress)

    def deadly_manager_save(self, *args, **kwargs):
        manager_save(self, *args, **kwargs)
        if len(calls) == 2 and after_weights:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save, tf.train.CheckpointManager.save = deadly_save, deadly_manager_save


def train(world: dict, training: dict, directory: str, limits: Limits | None, several_goals: bool) -> dict:
    spec = FeatureSpec.model_validate_json(world["spec"])
    config = TrainingConfig.model_validate(training)
    dataset = DatasetSpec(name="small", features=spec)
    experiment = Experiment(
        dataset=dataset,
        model=MULTI_TASK if several_goals else RatingModelConfig(dropout=0.5),
        embeddings=EmbeddingsConfig(dim=2),
        training=config,
    )
    output = tft.TFTransformOutput(world["transform"])
    reader = ExampleReader(spec, ModelInputs(spec, output.transform_features_layer()), world["files"], limits=limits)
    tf.keras.utils.set_random_seed(config.seed)
    strategy = make_strategy(config)
    vocabularies = Vocabularies(spec, output)
    objective = GOALS if several_goals else Rating((1.0, 4.0))
    blueprint = Blueprint(experiment, spec, vocabularies.rows, objective)
    model, optimizer = blueprint.for_training(strategy, 2.5)
    loop = TrainingLoop(
        strategy, model, optimizer, config, f"{directory}/checkpoints", directory, vocabularies.fingerprints
    )
    result = loop.fit(reader, reader)
    # The model holds the best weights by now; the last checkpoint holds those of the last step.
    last = tf.train.load_checkpoint(f"{directory}/checkpoints")
    values = {name: last.get_tensor(name) for name in sorted(last.get_variable_to_shape_map())}
    digests = {
        name: hashlib.sha256(value.tobytes() if hasattr(value, "tobytes") else value).hexdigest()
        for name, value in values.items()
        if not name.startswith(("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter"))
    }
    digests |= {f"best {variable.name}": hashlib.sha256(variable.numpy()).hexdigest() for variable in model.variables}
    return {"resumed_at": result.resumed_at, "steps": result.steps, "best_step": result.best_step, "state": digests}


def run(world: dict, scenario: dict) -> None:
    """In the child process."""
    if "signal" in scenario:
        handler = SignalAt(scenario["step"], scenario["signal"])
        progress = logging.getLogger("trainer_module.progress")
        progress.setLevel(logging.INFO)
        progress.addHandler(handler)
    if "save" in scenario:
        kill_in_save(after_weights=scenario["save"] == "after")
    try:
        limits = Limits(0, 0, scenario["directory"]) if scenario.get("features") == "in files" else None
        several_goals = scenario.get("several_goals", False)
        outcome = train(world, scenario["training"], scenario["directory"], limits, several_goals)
    except Preempted as preempted:
        print(preempted, file=sys.stderr)
        os._exit(PREEMPTED)
    Path(scenario["directory"], "outcome.json").write_text(json.dumps(outcome))


def main() -> None:
    arguments = json.loads(sys.argv[1])
    for scenario in arguments["scenarios"]:
        child = os.fork()
        if not child:
            try:
                run(arguments["world"], scenario)
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        outcome = Path(scenario["directory"], "outcome.json")
        print(json.dumps({"code": code, **(json.loads(outcome.read_text()) if code == 0 else {})}), flush=True)


if __name__ == "__main__":
    main()
