"""What the components of a run took, from what they left behind where a service runs them.

Vertex AI gives each task a directory `PIPELINE ROOT/PROJECT NUMBER/RUN/TASK_NUMBER`, in which TFX's entry point writes
`executor_output.json` when the task has ended (`tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor`). A
task that is answered from the cache has none in this run.
"""

import os
import time
from collections.abc import Mapping, Sequence

import tensorflow as tf

from components.run_report.data_flow import Task

_OUTPUT_FILE = "executor_output.json"


def finished_tasks(output: str, upstream: Mapping[str, Sequence[str]], stopping: str = "") -> tuple[Task, ...]:
    """The components of a run that have ended when a later one asks.

    Args:
        output: URI of an output of the component that asks.
        upstream: Components that each one waits for, by component, in the order in which they run.
        stopping: The component that asks, if it is one of them and stops the run.
    """
    run = os.path.dirname(os.path.dirname(output.rstrip("/")))
    files = tf.io.gfile.glob(os.path.join(run, "*", _OUTPUT_FILE))
    ended = {_component(file): tf.io.gfile.stat(file).mtime_nsec / 1e9 for file in files}
    if stopping:
        ended[stopping] = time.time()
    return tuple(_task(component, ended, before, component == stopping) for component, before in upstream.items())


def _component(file: str) -> str:
    return os.path.basename(os.path.dirname(file)).rpartition("_")[0]


def _task(component: str, ended: Mapping[str, float], before: Sequence[str], is_stopping: bool) -> Task:
    if component not in ended:
        return Task(component, None, cached=True)
    starts = [ended[each] for each in before if each in ended]
    return Task(component, ended[component] - max(starts) if starts else None, stopped=is_stopping)
