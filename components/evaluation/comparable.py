"""Whether a candidate can be compared with the last blessed model: only if that one predicts the same things."""

import json
import os
from collections.abc import Mapping

import tensorflow as tf

from trainer_module.errors import ModelError
from trainer_module.run_fn import GOALS, TRAINING_REPORT


def check_comparable(goals: Mapping[str, str], blessed: str) -> None:
    """Refuses a candidate whose metrics the last blessed model has not got, or has of something else.

    Models of earlier versions of the product do not say what they predict; they are not refused here.

    Args:
        goals: Of the candidate, as of `Experiment.goals`.
        blessed: URI of the last blessed model.

    Raises:
        ModelError: They predict different things, or the last blessed model is gone.
    """
    report = os.path.join(blessed, TRAINING_REPORT)
    try:
        with tf.io.gfile.GFile(report) as file:
            known = json.load(file).get(GOALS)
    except tf.errors.NotFoundError:
        raise ModelError(
            f"{report}: no such file; it belongs to the last blessed model of this pipeline, with which new models are "
            "compared. Bring it back, or give the pipeline another name, which begins without one"
        ) from None
    if known is not None and any(known.get(label) != task for label, task in goals.items()):
        raise ModelError(
            f"the last blessed model of this pipeline predicts {_listed(known)} and cannot be compared with one that "
            f"predicts {_listed(goals)}. Give the pipeline another name (key `name` of the experiment file); the last "
            f"blessed model is {blessed}"
        )


def _listed(goals: Mapping[str, str]) -> str:
    """For people."""
    if "" in goals:
        return {"rating": "ratings", "click": "clicks", "retrieval": "which items users take (retrieval)"}[goals[""]]
    return " and ".join(f"{label} ({task})" for label, task in goals.items())
