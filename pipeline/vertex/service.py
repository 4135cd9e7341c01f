"""The Vertex AI API as the command line uses it: which failures are tried again, and what to do about the others."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        failures: list[Exception] = []
        with self._in_words(failures):
            try:
                return self._attempts(self._pipelines.create_pipeline_job, request, _passes, failures)
            except exceptions.Conflict as error:
                if not failures:
                    raise ServiceError(
                        f"there is a run called {request.pipeline_job_id} already; give this one another --run-name"
                    ) from error
        # An attempt whose answer was lost had arrived.
        return self.get_run(request.pipeline_job_id)

    def create_schedule(self, request: types.CreateScheduleRequest) -> types.Schedule:
        """Creates a schedule. Only a refusal for want of quota is tried again: another attempt might make two.

        Raises:
            ServiceError: It was not created; or the service never said.
        """
        failures: list[Exception] = []
        with self._in_words(failures):
            return self._attempts(self._schedules.create_schedule, request, _is_out_of_quota, failures)

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

    def _call(self, method: Callable[..., Answer], request: Any) -> Answer:
        """Calls with patience what may be called twice.

        Raises:
            ServiceError: In words.
        """
        failures: list[Exception] = []
        with self._in_words(failures):
            return self._attempts(method, request, _passes, failures)

    def _attempts(
        self,
        method: Callable[..., Answer],
        request: Any,
        may_pass: Callable[[Exception], bool],
        failures: list[Exception],
    ) -> Answer:
        """Calls until there is an answer, a failure that does not pass, or no patience left; notes the failures that
        may pass."""
        patience = self._patience

        def note(error: Exception) -> None:
            failures.append(error)
            _log.warning("attempt %d: %s; trying again", len(failures), _first_line(error))

        retry = Retry(
            predicate=may_pass,
            initial=patience.first_wait,
            maximum=patience.longest_wait,
            timeout=patience.total,
            on_error=note,
        )
        # The client's own retry would count the attempts' time together.
        return retry(lambda: method(request, retry=None, timeout=patience.attempt))()

    @contextmanager
    def _in_words(self, failures: list[Exception]) -> Iterator[None]:
        """Turns failures into messages."""
        try:
            yield
        except exceptions.RetryError as error:
            raise self._explained(error.cause or error, len(failures)) from error
        except (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError, requests.RequestException) as error:
            raise self._explained(error, len(failures) + 1) from error

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
                f"the project's quota is used up, after {attempts} attempt(s) (429: {said}). Wait for a minute, or "
                f"ask for more: https://console.cloud.google.com/iam-admin/quotas?project={vertex.project}"
            )
        if isinstance(error, exceptions.BadRequest):
            return ServiceError(
                f"Vertex AI refuses the request (400: {said}). What it names stands in the section vertex: the bucket "
                f"({vertex.bucket}) must exist and be reachable by {member}, region and network must fit it. "
                "`recspan pipeline submit --dry-run` shows the request"
            )
        if _passes(error):
            return ServiceError(
                f"{vertex.api} did not answer as it should, after {attempts} attempt(s) ({said}). Nothing is wrong "
                "with the request. Look at https://status.cloud.google.com and the network, see with `recspan pipeline "
                f"list` or at {vertex.schedules_url} whether something was created after all, and try a run again with "
                "the same --run-name"
            )
        return ServiceError(f"Vertex AI failed: {said}")


def _passes(error: Exception) -> bool:
    return isinstance(error, _PASSING) or _token_is_late(error)


def _is_out_of_quota(error: Exception) -> bool:
    return isinstance(error, exceptions.TooManyRequests)


def _token_is_late(error: Exception) -> bool:
    """Whether the credentials could not be renewed because nobody answered."""
    return isinstance(error, auth_exceptions.TransportError) or (
        isinstance(error, auth_exceptions.RefreshError) and bool(getattr(error, "retryable", False))
    )


def _first_line(error: Exception) -> str:
    message = getattr(error, "message", "") or str(error) or type(error).__name__
    return str(message).strip().splitlines()[0]
