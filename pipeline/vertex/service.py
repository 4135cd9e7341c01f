"""Client of the Vertex AI API for runs and schedules of pipelines, over REST."""

from typing import Any

from google.api_core import exceptions
from google.cloud.aiplatform_v1 import types
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

from components.google_cloud.calls import PATIENCE, Advice, Calls, Patience, ServiceError, is_transient
from components.google_cloud.clients import default_credentials, make_client
from pipeline.vertex.config import VertexConfig


class VertexService:
    """Starts, shows and stops runs of one project in one region."""

    def __init__(self, vertex: VertexConfig, patience: Patience = PATIENCE):
        """Creates the clients with Application Default Credentials.

        Raises:
            SetupError: The credentials are missing.
        """
        self._vertex = vertex
        self._calls = Calls(vertex, patience, _advice(vertex))
        credentials = default_credentials()
        self._pipelines = make_client(PipelineServiceClient, vertex, credentials)
        self._schedules = make_client(ScheduleServiceClient, vertex, credentials)

    def create_run(self, request: types.CreatePipelineJobRequest) -> types.PipelineJob:
        """Starts a run. The request's id prevents a repeated attempt from starting a second run.

        Raises:
            ServiceError: The run was not started, or the service did not answer; the message says how to find out.
        """
        failures: list[Exception] = []
        with self._calls.translated(failures):
            try:
                return self._calls.attempts(self._pipelines.create_pipeline_job, request, is_transient, failures)
            except exceptions.Conflict as error:
                if not failures:
                    raise ServiceError(
                        f"a run called {request.pipeline_job_id} exists already; choose another --run-name"
                    ) from error
        # An earlier attempt created the run, but its answer was lost.
        return self.get_run(request.pipeline_job_id)

    def ensure_run(self, request: types.CreatePipelineJobRequest) -> types.PipelineJob:
        """Starts a run unless there is one of its name; returns that run.

        Raises:
            ServiceError: The run was not started, or the service did not answer; the message says how to find out.
        """
        with self._calls.translated(failures := []):
            try:
                return self._calls.attempts(self._pipelines.create_pipeline_job, request, is_transient, failures)
            except exceptions.Conflict:
                pass
        return self.get_run(request.pipeline_job_id)

    def create_schedule(self, request: types.CreateScheduleRequest) -> types.Schedule:
        """Creates a schedule. Only a refusal for lack of quota is tried again; other retries could create a second one.

        Raises:
            ServiceError: The schedule was not created, or the service did not answer.
        """
        return self._calls.create(self._schedules.create_schedule, request)

    def get_run(self, run_name: str) -> types.PipelineJob:
        """Returns a run with its state and its tasks.

        Raises:
            ServiceError: No run has this name.
        """
        request = types.GetPipelineJobRequest(name=f"{self._vertex.location}/pipelineJobs/{run_name}")
        return self._calls.repeat(self._pipelines.get_pipeline_job, request)

    def list_runs(self, limit: int) -> list[types.PipelineJob]:
        """Returns the latest runs, newest first, without their specs and tasks.

        Args:
            limit: Largest number of runs.

        Raises:
            ServiceError: The service refused the request.
        """
        runs: list[types.PipelineJob] = []
        request = types.ListPipelineJobsRequest(
            parent=self._vertex.location,
            page_size=min(limit, 100),
            order_by="create_time desc",
            read_mask="name,displayName,state,createTime,startTime,endTime",
        )
        while len(runs) < limit:
            # The client's own pager would fetch later pages without retries.
            page = self._calls.repeat(lambda request, **options: self._page(request, **options), request)
            runs += page.pipeline_jobs
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return runs[:limit]

    def cancel_run(self, run_name: str) -> None:
        """Asks a run to stop. The run stops some time later.

        Raises:
            ServiceError: No run has this name, or the service refused the request.
        """
        request = types.CancelPipelineJobRequest(name=f"{self._vertex.location}/pipelineJobs/{run_name}")
        self._calls.repeat(self._pipelines.cancel_pipeline_job, request)

    def _page(self, request: types.ListPipelineJobsRequest, **options: Any) -> types.ListPipelineJobsResponse:
        pager = self._pipelines.list_pipeline_jobs(request, **options)
        return next(iter(pager.pages))


def _advice(vertex: VertexConfig) -> Advice:
    return Advice(
        forbidden=(
            "You need the role roles/aiplatform.user in this project, and roles/iam.serviceAccountUser on "
            f"{vertex.account}, which the run uses. Also check vertex.project and vertex.service_account"
        ),
        not_found="Check the run's name, vertex.project and vertex.region",
        bad_request=(
            f"Check the section vertex: the bucket ({vertex.bucket}) must exist, {vertex.account} must have access to "
            "it, and region and network must match it. `recspan pipeline submit --dry-run` shows the request"
        ),
        unanswered=(
            f"check with `recspan pipeline list` or at {vertex.schedules_url} whether something was created, and try a "
            "run again with the same --run-name"
        ),
    )
