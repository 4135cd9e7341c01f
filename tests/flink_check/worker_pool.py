"""A pool of Python workers that several task managers of one machine share: `python -m tests.flink_check.worker_pool`.

Each task manager numbers its workers from 1, and Beam's pool keeps one process per number. A task manager that stops
its worker would stop that of another one. Workers end anyway when their task manager closes the connection.
"""

import sys

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


class SharedWorkerPool(BeamFnExternalWorkerPoolServicer):
    """Starts workers, and leaves it to them to end."""

    def StopWorker(self, stop_worker_request, unused_context):  # noqa: N802 (the name that gRPC calls)
        """Answers without stopping a worker."""
        return beam_fn_api_pb2.StopWorkerResponse()


if __name__ == "__main__":
    # gRPC stops a server that nothing refers to.
    _, server = SharedWorkerPool.start(use_process=True, port=int(sys.argv[1]))
    server.wait_for_termination()
