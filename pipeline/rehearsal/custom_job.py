"""Runs an entry point of TFX with this machine in the place of Vertex AI Training.

`python -m pipeline.rehearsal.custom_job MODULE ARGUMENTS` is `python -m MODULE ARGUMENTS`, except that a custom job
which TFX's Trainer for Vertex AI creates is run here: its first worker pool's own command, in the environment of the
pool's container. All else, the job's request included, is the extension's own doing.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from google.cloud.aiplatform_v1.types import CustomJob, JobState
from tfx.extensions.google_cloud_ai_platform import training_clients


class JobServiceHere:
    """As much of `google.cloud.aiplatform.gapic.JobServiceClient` as TFX's Trainer for Vertex AI uses."""

    def __init__(self, client_options: Mapping[str, str]):
        """Takes what names the service's address, which no request is sent to."""
        del client_options
        self._jobs: dict[str, CustomJob] = {}

    def create_custom_job(self, parent: str, custom_job: Mapping[str, Any]) -> CustomJob:
        """Runs the job to its end.

        Raises:
            ValueError: The request is none of a `CustomJob`.
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
        """The job as it ended."""
        del retry
        return self._jobs[name]


def main() -> None:
    """Runs the entry point that the first argument names."""
    training_clients.gapic.JobServiceClient = JobServiceHere
    module = sys.argv[1]
    sys.argv[:2] = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
