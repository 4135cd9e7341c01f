"""A process that trains one trial after another: `python -m pipeline.tuning.worker`.

It reads jobs, the arguments of the Trainer, from its standard input and writes what comes of them to its standard
output (`pipeline.tuning.messages`). It ends with the process that started it, however that ends.
"""

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.failures import describe
from pipeline.interruption import end_with_parent
from pipeline.local.peak_memory import release_memory
from pipeline.tuning.messages import DIVERGED, EVALUATED, FAILED, FINISHED, READY, STOPPED
from trainer_module.errors import ModelError
from trainer_module.run_fn import assemble, train
from trainer_module.training.loop import Evaluation

_log = logging.getLogger(__name__)

Exchange = Callable[[dict[str, Any]], Any]


class _Stopped(Exception):
    """The trial is not worth its remaining steps."""


def main() -> None:
    """Trains until there are no more jobs."""
    end_with_parent()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # What libraries print goes to the log, not among the messages.
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def exchange(message: dict[str, Any]) -> Any:
        print(json.dumps(message), file=messages, flush=True)
        # At the end of the input nobody waits for this process any more.
        return json.loads(sys.stdin.readline() or "null")

    job = exchange({"kind": READY})
    while job is not None:
        outcome = train_trial(job, exchange)
        tf.keras.backend.clear_session()
        release_memory()
        job = exchange(outcome)


def train_trial(arguments: Mapping[str, Any], exchange: Exchange) -> dict[str, Any]:
    """Trains one trial.

    Args:
        arguments: Of `FnArgs`; what training writes goes below `custom_config.checkpoints`.
        exchange: Sends a message and returns its answer.

    Returns:
        The message that ends the trial: with the selection metric of the weights that the training would keep if it
        finished, else with the reason. A failure ends this trial alone.
    """
    metrics: list[str] = []

    def observe(evaluation: Evaluation) -> None:
        if not math.isfinite(evaluation.value):
            raise ModelError(f"{evaluation.metric} is not finite at step {evaluation.step}")
        metrics.append(evaluation.metric)
        message = {"kind": EVALUATED, "metric": evaluation.metric, "value": evaluation.value, "step": evaluation.step}
        if not exchange(message):
            raise _Stopped(f"stopped at step {evaluation.step}")

    scratch = Path(arguments["custom_config"]["checkpoints"])
    fn_args = FnArgs(**arguments, model_run_dir=str(scratch / "model_run"))
    try:
        training = train(assemble(fn_args), None, str(scratch / "states"), fn_args, observe)
    except _Stopped as stop:
        return {"kind": STOPPED, "reason": str(stop)}
    except ModelError as error:
        return {"kind": DIVERGED, "reason": str(error)}
    except Exception as error:
        _log.error("the trial failed", exc_info=error)
        return {"kind": FAILED, "reason": describe(error)}
    return {"kind": FINISHED, "value": training.result.metrics[metrics[-1]]}


if __name__ == "__main__":
    main()
