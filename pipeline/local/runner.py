"""TFX's local runner with progress reports."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline.local.answers import Answers
from pipeline.local.outcome import ComponentRun, FailedComponent
from pipeline.local.peak_memory import PeakMemory, release_memory
from pipeline.observer import Observer

_log = logging.getLogger(__name__)

_RUN_ID_PARAMETER = "pipeline-run-id"


class ObservedLocalRunner(LocalDagRunner):
    """Launches the components in their order, some of them early, and reports each to an observer.

    The base class has no hook around a component, so `run_with_ir` is written anew.
    """

    def __init__(
        self,
        run_id: str,
        observer: Observer,
        ahead: Mapping[str, Callable[[], None]] = MappingProxyType({}),
        only: Collection[str] | None = None,
        early: Collection[str] = (),
    ):
        """Sets the run's name and its observer.

        Args:
            run_id: Name of the run in the metadata store.
            observer: Receives the progress.
            ahead: What is to be started beside a component, by its id, because a later one will wait for it. It is
                left out while all components are answered from the cache.
            only: Ids of the components that are run, with all that they need; None runs all.
            early: Ids of components that begin when those have ended whose outputs they read, in a thread beside the
                others that come before them in the pipeline, one such component at a time. If one of those others
                fails, the run ends there, and what the early component made is an answer for a later run.
        """
        super().__init__()
        self._ahead, self._only, self._early = ahead, only, early
        self._run_id = run_id
        self._observer = observer
        self._first_began: float | None = None
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
        launches = _Launches(pipeline)
        launches.check_answers()
        names = [name for name in launches.names if self._only is None or name in self._only]
        # Leaving the pool waits for a component that still runs when another one has failed.
        with ThreadPoolExecutor(1, thread_name_prefix="early-component") as pool:
            begun: dict[str, Future[ComponentRun | _Failure]] = {}
            for number, name in enumerate(names):
                ended = set(names[:number])
                for other in names[number + 1 :]:
                    if other in self._early and other not in begun and ended >= launches.read_by(other):
                        begun[other] = pool.submit(self._run, launches, other)
                if name in self._ahead and not all(run.cached for run in self.finished):
                    self._ahead[name]()
                run = begun[name].result() if name in begun else self._run(launches, name)
                if isinstance(run, _Failure):
                    self.failed = run.component
                    self._observer.failed(name)
                    raise run.error
                self.finished.append(run)
        return self.finished

    def _run(self, launches: "_Launches", name: str) -> "ComponentRun | _Failure":
        self._observer.started(name)
        started = time.monotonic()
        if self._first_began is None:
            self._first_began = started
        begun = started - self._first_began
        with PeakMemory() as peak:
            try:
                execution, cached = launches.launch(name)
            except Exception as error:
                return _Failure(FailedComponent(name, time.monotonic() - started, peak.bytes(), begun), error)
            run = ComponentRun(name, time.monotonic() - started, cached, execution, peak.bytes(), begun)
        if not cached:
            release_memory()
        self._observer.finished(name, run.seconds, cached)
        return run


@dataclass(frozen=True)
class _Failure:
    """What a component raised, for the thread that runs the others."""

    component: FailedComponent
    error: Exception


class _Launches:
    """Launches components of a compiled pipeline, also from several threads."""

    def __init__(self, pipeline: pipeline_pb2.Pipeline):
        self._pipeline = pipeline
        self._nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}
        self._deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = self._deployment.metadata_connection_config
        self._connection = getattr(connection, connection.WhichOneof("connection_config"))
        self._store_is_free = threading.RLock()

    @property
    def names(self) -> list[str]:
        """Ids of all components, each after those that it needs."""
        return list(self._nodes)

    def read_by(self, name: str) -> set[str]:
        """Ids of the components whose outputs a component reads."""
        inputs = self._nodes[name].inputs.inputs.values()
        return {channel.producer_node_query.id for each in inputs for channel in each.channels}

    def launch(self, name: str) -> tuple[int, bool]:
        """Runs a component; the id of its execution, and whether an earlier one has answered it.

        Raises:
            RuntimeError: A resolver failed.
        """
        execution = launcher.Launcher(
            pipeline_node=self._nodes[name],
            mlmd_connection=self._metadata(),
            pipeline_info=self._pipeline.pipeline_info,
            pipeline_runtime_spec=self._pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(self._deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(self._deployment, name),
        ).launch()
        assert execution.execution_id is not None
        with self._metadata() as handle:
            (record,) = handle.store.get_executions_by_id([execution.execution_id])
            cached = record.last_known_state == metadata_store_pb2.Execution.CACHED
            if not cached:
                self._answers(handle).list_outputs(execution.execution_id)
        if record.last_known_state == metadata_store_pb2.Execution.FAILED:
            raise RuntimeError(f"TFX could not resolve the inputs of {name}")
        return execution.execution_id, cached

    def check_answers(self) -> None:
        """Withdraws cached answers whose files are not what they were, and says so."""
        with self._metadata() as handle:
            for each in self._answers(handle).withdraw_damaged():
                _log.warning("%s: an earlier result cannot be used again: %s", each.component, each.damage)

    def _metadata(self) -> metadata.Metadata:
        return _SharedMetadata(self._connection, self._store_is_free)

    def _answers(self, handle: metadata.Metadata) -> Answers:
        root = self._pipeline.runtime_spec.pipeline_root.field_value.string_value
        return Answers(handle.store, self._pipeline.pipeline_info.id, Path(root))


class _SharedMetadata(metadata.Metadata):
    """The metadata store for one thread at a time, because SQLite's file refuses a writer while another one writes."""

    def __init__(self, connection: metadata_store_pb2.ConnectionConfig, is_free: threading.RLock):
        super().__init__(connection)
        self._is_free = is_free

    def __enter__(self) -> metadata.Metadata:
        self._is_free.acquire()
        try:
            return super().__enter__()
        except BaseException:
            self._is_free.release()
            raise

    def __exit__(self, kind: type[Exception] | None, error: Exception | None, trace: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._is_free.release()
