"""TFX's local runner, with a word before and after each node."""

import time
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline.local.observer import Observer

_RUN_ID_PARAMETER = "pipeline-run-id"


@dataclass(frozen=True)
class ComponentRun:
    """One node of a finished run.

    Attributes:
        component: Its id in the pipeline.
        seconds: Wall-clock time, driver and publisher included.
        cached: Whether an earlier execution answered.
        execution_id: In the metadata store.
    """

    component: str
    seconds: float
    cached: bool
    execution_id: int


class ObservedLocalRunner(tfx.orchestration.LocalDagRunner):
    """Launches nodes one after another, as its base class does, which offers no place to look in."""

    def __init__(self, run_id: str, observer: Observer):
        """Keeps what the run is called and who is told of it."""
        super().__init__()
        self._run_id = run_id
        self._observer = observer

    def run_with_ir(
        self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None
    ) -> list[ComponentRun]:
        """Runs all nodes.

        Raises:
            RuntimeError: A resolver failed, which TFX records but does not raise.
            ValueError: `run_options` asks for a part of the pipeline, which this runner does not do.
        """
        if run_options is not None:
            raise ValueError("partial runs are not supported")
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, {_RUN_ID_PARAMETER: self._run_id})
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = deployment.metadata_connection_config
        connection = getattr(connection, connection.WhichOneof("connection_config"))
        runs = []
        for node in pipeline.nodes:
            name = node.pipeline_node.node_info.id
            self._observer.started(name)
            started = time.monotonic()
            execution = launcher.Launcher(
                pipeline_node=node.pipeline_node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            ).launch()
            seconds = time.monotonic() - started
            with metadata.Metadata(connection) as handle:
                (record,) = handle.store.get_executions_by_id([execution.execution_id])
            if record.last_known_state == metadata_store_pb2.Execution.FAILED:
                raise RuntimeError(f"TFX could not resolve the inputs of {name}")
            cached = record.last_known_state == metadata_store_pb2.Execution.CACHED
            runs.append(ComponentRun(name, seconds, cached, execution.execution_id))
            self._observer.finished(name, seconds, cached)
        return runs
