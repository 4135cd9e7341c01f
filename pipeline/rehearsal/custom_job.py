"""Runs a TFX entry point and replaces Vertex AI Training by this machine.

`python -m pipeline.rehearsal.custom_job MODULE ARGUMENTS` does what `python -m MODULE ARGUMENTS` does, with one
difference: a custom job that TFX's Trainer for Vertex AI creates runs as a local process. It runs the command of the
first worker pool in the environment of that pool's container. TFX itself builds the job's request.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from google.cloud.aiplatform_v1.types import CustomJob, JobState
from tfx.extensions.google_cloud_ai_platform import training_clients


class LocalJobService:
    """The methods of `google.cloud.aiplatform.gapic.JobServiceClient` that TFX's Trainer for Vertex AI calls."""

    def __init__(self, client_options: Mapping[str, str]):
        """Accepts the service's address, because the client does. No request is sent."""
        del client_options
        self._jobs: dict[str, CustomJob] = {}

    def create_custom_job(self, parent: str, custom_job: Mapping[str, Any]) -> CustomJob:
        """Runs the job and waits for its end.

        Raises:
            ValueError: The request is not a `CustomJob`.
        """
        job = CustomJob(custom_job, ignore_unknown_fields=False)
        container = job.job_spec.worker_pool_specs[0].container_spec
        environment = os.environ | {variable.name: variable.value for variable in container.env}
        code = subprocess.run([*container.command, *container.args], env=environment, check=False).returncode
        job.name = f"{parent}/customJobs/1"
        job.state = JobState.JOB_STATE_FAILED if code else JobState.JOB_STATE_SUCCEEDED
        if code:
            job.error = {"code": 3, "message": f"the job's command ended with exit code {code}; see above"}
        self._jobs[job.name] = job
        return job

    def get_custom_job(self, name: str, retry: Any) -> CustomJob:
        """Returns the finished job."""
        del retry
        return self._jobs[name]


def main() -> None:
    """Runs the entry point that the first argument names."""
    training_clients.gapic.JobServiceClient = LocalJobService
    module = sys.argv[1]
    sys.argv[:2] = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
