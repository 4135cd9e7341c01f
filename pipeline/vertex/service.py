"""The Vertex AI API as the command line uses it: which failures are tried again, and what to do about the others."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import requests.exceptions
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry
from google.auth import exceptions as auth_exceptions
from google.cloud.aiplatform_v1 import types
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

from pipeline.vertex.config import VertexConfig
from trainer_module.errors import RecspanError, SetupError

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# The same call may succeed a little later. Everything else fails again in the same way.
_PASSING = (
    exceptions.TooManyRequests,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.ServiceUnavailable,
    exceptions.GatewayTimeout,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


class ServiceError(RecspanError):
    """Vertex AI refused, or did not answer."""


@dataclass(frozen=True)
class Patience:
    """How long a call is tried, in seconds.

    Attributes:
        attempt: For one answer.
        first_wait: Before the second attempt, at most; waits double, each is drawn at random up to its length.
        longest_wait: Between attempts.
        total: After which no further attempt begins.
    """

    attempt: float = 60.0
    first_wait: float = 1.0
    longest_wait: float = 30.0
    total: float = 180.0


class VertexService:
    """Starts, shows and stops runs of one project in one region, over REST."""

    def __init__(self, vertex: VertexConfig, patience: Patience = Patience()):
        """Finds credentials, as all of Google's libraries do (Application Default Credentials).

        Raises:
            SetupError: There are none.
        """
        self._vertex = vertex
        self._patience = patience
        options = ClientOptions(api_endpoint=vertex.api)
        try:
            self._pipelines = PipelineServiceClient(transport="rest", client_options=options)
            self._schedules = ScheduleServiceClient(transport="rest", client_options=options)
        except auth_exceptions.DefaultCredentialsError as error:
            raise SetupError(
                f"no credentials for Google Cloud ({_first_line(error)}). Run `gcloud auth application-default login`, "
                "or let GOOGLE_APPLICATION_CREDENTIALS name a service account's key file"
            ) from error

    def create_run(self, request: types.CreatePipelineJobRequest) -> types.PipelineJob:
        """Starts a run; the request's id makes sure that a repeated attempt starts no second one.

        Raises:
            ServiceError: It was not started; or the service never said, and the message tells how to find out.
        """
        name = f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"
        failures: list[Exception] = []
        try:
            return self._call(self._pipelines.create_pipeline_job, request, failures)
        except exceptions.Conflict as error:
            if failures:
                # An attempt whose answer was lost had arrived.
                return self.get_run(request.pipeline_job_id)
            raise ServiceError(
                f"there is a run called {request.pipeline_job_id} already ({name}); give this one another --run-name"
            ) from error

    def create_schedule(self, request: types.CreateScheduleRequest) -> types.Schedule:
        """Creates a schedule.

        Raises:
            ServiceError: It was not created.
        """
        return self._call(self._schedules.create_schedule, request)

    def get_run(self, run_name: str) -> types.PipelineJob:
        """A run with its state and its tasks.

        Raises:
            ServiceError: There is none of that name.
        """
        request = types.GetPipelineJobRequest(name=f"{self._vertex.location}/pipelineJobs/{run_name}")
        return self._call(self._pipelines.get_pipeline_job, request)

    def list_runs(self, limit: int) -> list[types.PipelineJob]:
        """The latest runs, newest first, without their specs and tasks.

        Args:
            limit: Largest number of runs.

        Raises:
            ServiceError: The service refused.
        """
        runs: list[types.PipelineJob] = []
        request = types.ListPipelineJobsRequest(
            parent=self._vertex.location,
            page_size=min(limit, 100),
            order_by="create_time desc",
            read_mask="name,displayName,state,createTime,startTime,endTime",
        )
        while len(runs) < limit:
            # The client's own pager would fetch later pages without patience.
            page = self._call(lambda request, **options: self._page(request, **options), request)
            runs += page.pipeline_jobs
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return runs[:limit]

    def cancel_run(self, run_name: str) -> None:
        """Asks a run to stop; it does so in its own time.

        Raises:
            ServiceError: There is none of that name, or the service refused.
        """
        request = types.CancelPipelineJobRequest(name=f"{self._vertex.location}/pipelineJobs/{run_name}")
        self._call(self._pipelines.cancel_pipeline_job, request)

    def _page(self, request: types.ListPipelineJobsRequest, **options: Any) -> types.ListPipelineJobsResponse:
        pager = self._pipelines.list_pipeline_jobs(request, **options)
        return next(iter(pager.pages))

    def _call(self, method: Callable[..., Answer], request: Any, failures: list[Exception] | None = None) -> Answer:
        """Calls with patience; each failure that was tried again is noted in `failures`.

        Raises:
            Conflict: What was to be created exists.
            ServiceError: Everything else, in words.
        """
        noted = failures if failures is not None else []
        patience = self._patience

        def note(error: Exception) -> None:
            noted.append(error)
            _log.warning("attempt %d: %s; trying again", len(noted), _first_line(error))

        retry = Retry(
            predicate=lambda error: isinstance(error, _PASSING) or _token_is_late(error),
            initial=patience.first_wait,
            maximum=patience.longest_wait,
            timeout=patience.total,
            on_error=note,
        )
        # The client's own retry would count the attempts' time together.
        attempt = retry(lambda: method(request, retry=None, timeout=patience.attempt))
        try:
            return attempt()
        except exceptions.Conflict:
            raise
        except exceptions.RetryError as error:
            raise self._explained(error.cause or error, len(noted)) from error
        except (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError, requests.RequestException) as error:
            raise self._explained(error, len(noted)) from error

    def _explained(self, error: Exception, attempts: int) -> ServiceError:
        """The error in words: what happened and what to do."""
        vertex, said = self._vertex, _first_line(error)
        member = vertex.service_account or "Compute Engine's default service account"
        if isinstance(error, auth_exceptions.GoogleAuthError) and not _token_is_late(error):
            return ServiceError(
                f"the credentials are not accepted ({said}). Run `gcloud auth application-default login` again, or "
                "give the service account a new key"
            )
        if isinstance(error, exceptions.Unauthorized):
            return ServiceError(
                f"Vertex AI does not know who asks (401: {said}). Run `gcloud auth application-default login`"
            )
        if isinstance(error, exceptions.Forbidden):
            if "SERVICE_DISABLED" in str(error) or "has not been used in project" in str(error):
                return ServiceError(
                    f"the Vertex AI API is switched off in {vertex.project} (403). Switch it on: "
                    f"gcloud services enable aiplatform.googleapis.com --project={vertex.project}"
                )
            return ServiceError(
                f"not allowed in project {vertex.project} (403: {said}). Who submits needs the role "
                f"roles/aiplatform.user there, and roles/iam.serviceAccountUser on {member}, under which the run "
                "works; check vertex.project and vertex.service_account too"
            )
        if isinstance(error, exceptions.NotFound):
            return ServiceError(
                f"Vertex AI finds no such thing at {vertex.location} (404: {said}). Check the run's name, "
                "vertex.project and vertex.region"
            )
        if isinstance(error, exceptions.TooManyRequests):
            return ServiceError(
                f"the project's quota is used up, also after {attempts} attempts (429: {said}). Wait for a minute, or "
                f"ask for more: https://console.cloud.google.com/iam-admin/quotas?project={vertex.project}"
            )
        if isinstance(error, exceptions.BadRequest):
            return ServiceError(
                f"Vertex AI refuses the request (400: {said}). What it names stands in the section vertex: the bucket "
                f"({vertex.bucket}) must exist and be reachable by {member}, region and network must fit it. "
                "`recspan pipeline submit --dry-run` shows the request"
            )
        if isinstance(error, _PASSING) or _token_is_late(error):
            return ServiceError(
                f"{vertex.api} did not answer as it should, also after {attempts} attempts ({said}). Nothing is wrong "
                "with the request. Look at https://status.cloud.google.com and the network, see with `recspan pipeline "
                "list` whether something was started after all, and try again with the same --run-name"
            )
        return ServiceError(f"Vertex AI failed: {said}")


def _token_is_late(error: Exception) -> bool:
    """Whether the credentials could not be renewed because nobody answered."""
    return isinstance(error, auth_exceptions.TransportError) or (
        isinstance(error, auth_exceptions.RefreshError) and bool(getattr(error, "retryable", False))
    )


def _first_line(error: Exception) -> str:
    message = getattr(error, "message", "") or str(error) or type(error).__name__
    return str(message).strip().splitlines()[0]
