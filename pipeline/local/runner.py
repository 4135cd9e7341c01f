"""TFX's local runner with progress reports."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import local_deployment_config_pb2, pipeline_pb2

from pipeline.local.answers import Answers
from pipeline.local.outcome import ComponentRun, FailedComponent
from pipeline.local.peak_memory import PeakMemory, release_memory
from pipeline.observer import Observer

_log = logging.getLogger(__name__)

_RUN_ID_PARAMETER = "pipeline-run-id"


class ObservedLocalRunner(LocalDagRunner):
    """Launches the components one after another and reports each to an observer.

    The base class has no hook around a component, so `run_with_ir` is written anew.
    """

    def __init__(
        self,
        run_id: str,
        observer: Observer,
        ahead: Mapping[str, Callable[[], None]] = MappingProxyType({}),
        only: Collection[str] | None = None,
    ):
        """Sets the run's name and its observer.

        Args:
            run_id: Name of the run in the metadata store.
            observer: Receives the progress.
            ahead: What is to be started beside a component, by its id, because a later one will wait for it. It is
                left out while all components are answered from the cache.
            only: Ids of the components that are run, with all that they need; None runs all.
        """
        super().__init__()
        self._ahead, self._only = ahead, only
        self._run_id = run_id
        self._observer = observer
        # Also when a later component has failed.
        self.finished: list[ComponentRun] = []
        self.failed: FailedComponent | None = None

    def run_with_ir(
        self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None
    ) -> list[ComponentRun]:
        """Runs all components.

        Args:
            pipeline: The compiled pipeline.
            run_options: Must be None; partial runs are not supported.

        Raises:
            RuntimeError: A resolver failed, which TFX records but does not raise.
            ValueError: `run_options` is given.
        """
        if run_options is not None:
            raise ValueError("partial runs are not supported")
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, {_RUN_ID_PARAMETER: self._run_id})
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = deployment.metadata_connection_config
        connection = getattr(connection, connection.WhichOneof("connection_config"))
        self._check_answers(pipeline, connection)
        with PeakMemory() as peak:
            return self._run_nodes(pipeline, deployment, connection, peak)

    def _run_nodes(
        self,
        pipeline: pipeline_pb2.Pipeline,
        deployment: local_deployment_config_pb2.LocalDeploymentConfig,
        connection: metadata_store_pb2.ConnectionConfig,
        peak: PeakMemory,
    ) -> list[ComponentRun]:
        runs = self.finished
        for node in pipeline.nodes:
            name = node.pipeline_node.node_info.id
            if self._only is not None and name not in self._only:
                continue
            self._observer.started(name)
            started = time.monotonic()
            peak.restart()
            if name in self._ahead and not all(run.cached for run in runs):
                self._ahead[name]()
            try:
                execution = launcher.Launcher(
                    pipeline_node=node.pipeline_node,
                    mlmd_connection=metadata.Metadata(connection),
                    pipeline_info=pipeline.pipeline_info,
                    pipeline_runtime_spec=pipeline.runtime_spec,
                    executor_spec=runner_utils.extract_executor_spec(deployment, name),
                    custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
                ).launch()
            except Exception:
                self.failed = FailedComponent(name, time.monotonic() - started, peak.bytes())
                raise
            seconds = time.monotonic() - started
            with metadata.Metadata(connection) as handle:
                (record,) = handle.store.get_executions_by_id([execution.execution_id])
                cached = record.last_known_state == metadata_store_pb2.Execution.CACHED
                if not cached:
                    _answers(handle, pipeline).list_outputs(execution.execution_id)
            if record.last_known_state == metadata_store_pb2.Execution.FAILED:
                raise RuntimeError(f"TFX could not resolve the inputs of {name}")
            runs.append(ComponentRun(name, seconds, cached, execution.execution_id, peak.bytes()))
            if not cached:
                release_memory()
            self._observer.finished(name, seconds, cached)
        return runs

    def _check_answers(self, pipeline: pipeline_pb2.Pipeline, connection: metadata_store_pb2.ConnectionConfig) -> None:
        """Withdraws cached answers whose files are not what they were, and says so."""
        with metadata.Metadata(connection) as handle:
            for each in _answers(handle, pipeline).withdraw_damaged():
                _log.warning("%s: an earlier result cannot be used again: %s", each.component, each.damage)


def _answers(handle: metadata.Metadata, pipeline: pipeline_pb2.Pipeline) -> Answers:
    root = pipeline.runtime_spec.pipeline_root.field_value.string_value
    return Answers(handle.store, pipeline.pipeline_info.id, Path(root))
