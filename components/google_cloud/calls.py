"""Calls of Google's APIs: which failures are tried again, and what to do about the others."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import requests.exceptions
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth import exceptions as auth_exceptions

from components.vertex_deployer.config import Target
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
    """Google Cloud refused, or did not answer."""


@dataclass(frozen=True)
class Patience:
    """How long a call is tried, in seconds.

    Attributes:
        attempt: For one answer.
        first_wait: Before the second attempt, at most; waits double, each is drawn at random up to its length.
        longest_wait: Between attempts.
        total: After which no further attempt begins.
        poll: Between two looks at a long-running operation.
        operation: For a long-running operation; machines of an endpoint and the import of vectors take their time.
    """

    attempt: float = 60.0
    first_wait: float = 1.0
    longest_wait: float = 30.0
    total: float = 180.0
    poll: float = 10.0
    operation: float = 4 * 3600.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Advice:
    """What to do about a failure, as far as it depends on what was asked; a sentence or more each.

    Attributes:
        forbidden: Which roles are needed, by whom.
        not_found: What to check.
        bad_request: Where what was refused stands.
        unanswered: How to find out what happened, and how to go on.
    """

    forbidden: str
    not_found: str
    bad_request: str
    unanswered: str


class Calls:
    """Calls with patience, and failures in words."""

    def __init__(self, target: Target, patience: Patience, advice: Advice):
        self._target = target
        self._patience = patience
        self._advice = advice

    def repeat(self, method: Callable[..., Answer], request: Any) -> Answer:
        """Calls with patience what may be called twice.

        Raises:
            ServiceError: In words.
        """
        failures: list[Exception] = []
        with self.in_words(failures):
            return self.attempts(method, request, passes, failures)

    def create(self, method: Callable[..., Answer], request: Any) -> Answer:
        """Calls what would make a second thing if it were called twice.

        Only a refusal for want of quota, before which nothing was done, is tried again.

        Raises:
            ServiceError: In words.
        """
        failures: list[Exception] = []
        with self.in_words(failures):
            return self.attempts(method, request, is_out_of_quota, failures)

    def attempts(
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
            _log.warning("attempt %d: %s; trying again", len(failures), first_line(error))

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
    def in_words(self, failures: list[Exception]) -> Iterator[None]:
        """Turns failures into messages."""
        try:
            yield
        except exceptions.RetryError as error:
            raise self.explained(error.cause or error, len(failures)) from error
        except (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError, requests.RequestException) as error:
            raise self.explained(error, len(failures) + 1) from error

    def explained(self, error: Exception, attempts: int) -> ServiceError:
        """The error in words: what happened and what to do."""
        target, advice, said = self._target, self._advice, first_line(error)
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
                    f"the Vertex AI API is switched off in {target.project} (403). Switch it on: "
                    f"gcloud services enable aiplatform.googleapis.com --project={target.project}"
                )
            return ServiceError(f"not allowed in project {target.project} (403: {said}). {advice.forbidden}")
        if isinstance(error, exceptions.NotFound):
            return ServiceError(f"Vertex AI finds no such thing at {target.location} (404: {said}). {advice.not_found}")
        if isinstance(error, exceptions.TooManyRequests):
            return ServiceError(
                f"the project's quota is used up, after {attempts} attempt(s) (429: {said}). Wait for a minute, or "
                f"ask for more: https://console.cloud.google.com/iam-admin/quotas?project={target.project}"
            )
        if isinstance(error, exceptions.BadRequest):
            return ServiceError(f"Vertex AI refuses the request (400: {said}). {advice.bad_request}")
        if passes(error):
            return ServiceError(
                f"{target.api} did not answer as it should, after {attempts} attempt(s) ({said}). Nothing is wrong "
                f"with the request. Look at https://status.cloud.google.com and the network, {advice.unanswered}"
            )
        return ServiceError(f"Vertex AI failed: {said}")


@contextmanager
def credentials_needed() -> Iterator[None]:
    """Says how to get credentials where there are none.

    Raises:
        SetupError: There are none.
    """
    try:
        yield
    except auth_exceptions.DefaultCredentialsError as error:
        raise SetupError(
            f"no credentials for Google Cloud ({first_line(error)}). Run `gcloud auth application-default login`, "
            "or let GOOGLE_APPLICATION_CREDENTIALS name a service account's key file"
        ) from error


def passes(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    return isinstance(error, _PASSING) or _token_is_late(error)


def is_out_of_quota(error: Exception) -> bool:
    """Whether the call was refused before anything was done."""
    return isinstance(error, exceptions.TooManyRequests)


def _token_is_late(error: Exception) -> bool:
    """Whether the credentials could not be renewed because nobody answered."""
    return isinstance(error, auth_exceptions.TransportError) or (
        isinstance(error, auth_exceptions.RefreshError) and bool(getattr(error, "retryable", False))
    )


def first_line(error: Exception) -> str:
    """What an error says, without details."""
    message = getattr(error, "message", "") or str(error) or type(error).__name__
    return str(message).strip().splitlines()[0]
