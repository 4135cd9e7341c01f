"""Calls of Google's APIs with retries, and error messages that say what to do."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import requests.exceptions
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth import exceptions as auth_exceptions

from components.google_cloud.target import Target
from trainer_module.errors import RecspanError, SetupError

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Failures after which the same call may succeed. Every other failure would repeat itself.
_TRANSIENT = (
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
    """Time limits of a call, in seconds.

    Attributes:
        attempt: Limit of one attempt.
        first_wait: Longest wait before the second attempt; the limit doubles each time, each wait is drawn at random.
        longest_wait: Longest wait between two attempts.
        total: Time after which no further attempt begins.
        poll: Time between two polls of a long-running operation.
        operation: Limit of a long-running operation; starting an endpoint's machines and importing vectors is slow.
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
    """Advice for each kind of failure, in sentences; the caller knows what it asked for.

    Attributes:
        forbidden: Names the needed roles and who needs them.
        not_found: Names what to check.
        bad_request: Names the settings that the request was made from.
        unanswered: Says how to find out what happened, and how to continue.
    """

    forbidden: str
    not_found: str
    bad_request: str
    unanswered: str


class Calls:
    """Calls methods of Google's clients with retries, and translates their failures."""

    def __init__(self, target: Target, patience: Patience, advice: Advice):
        """Sets the context of error messages and the time limits.

        Args:
            target: Project and region of the calls.
            patience: Time limits.
            advice: Advice that error messages give.
        """
        self._target = target
        self._patience = patience
        self._advice = advice

    def repeat(self, method: Callable[..., Answer], request: Any) -> Answer:
        """Calls an idempotent method, with retries after transient failures.

        Raises:
            ServiceError: The call failed.
        """
        failures: list[Exception] = []
        with self.translated(failures):
            return self.attempts(method, request, is_transient, failures)

    def create(self, method: Callable[..., Answer], request: Any) -> Answer:
        """Calls a method that would create a second resource if it were called twice.

        Only a refusal for lack of quota is tried again, because the service has done nothing then.

        Raises:
            ServiceError: The call failed.
        """
        failures: list[Exception] = []
        with self.translated(failures):
            return self.attempts(method, request, is_out_of_quota, failures)

    def attempts(
        self,
        method: Callable[..., Answer],
        request: Any,
        retry_if: Callable[[Exception], bool],
        failures: list[Exception],
    ) -> Answer:
        """Calls a method until it answers, fails for good, or the time is up.

        Args:
            method: Method of a client.
            request: Argument of the method.
            retry_if: Decides whether a failure is tried again.
            failures: Gets the failures that were tried again.

        Raises:
            Exception: Google's own; see `translated`.
        """
        patience = self._patience

        def note(error: Exception) -> None:
            failures.append(error)
            _log.warning("attempt %d: %s; trying again", len(failures), first_line(error))

        retry = Retry(
            predicate=retry_if,
            initial=patience.first_wait,
            maximum=patience.longest_wait,
            timeout=patience.total,
            on_error=note,
        )
        # The client's own retry would count the attempts' time together.
        return retry(lambda: method(request, retry=None, timeout=patience.attempt))()

    @contextmanager
    def translated(self, failures: list[Exception]) -> Iterator[None]:
        """Turns Google's exceptions into a `ServiceError` that says what happened and what to do.

        Args:
            failures: Earlier failures of the same call; the message states the number of attempts.
        """
        try:
            yield
        except exceptions.RetryError as error:
            raise self.explained(error.cause or error, len(failures)) from error
        except (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError, requests.RequestException) as error:
            raise self.explained(error, len(failures) + 1) from error

    def explained(self, error: Exception, attempts: int) -> ServiceError:
        """Returns an error that says what happened and what to do."""
        target, advice, said = self._target, self._advice, first_line(error)
        if isinstance(error, auth_exceptions.GoogleAuthError) and not _token_request_failed(error):
            return ServiceError(
                f"the credentials are not accepted ({said}). Run `gcloud auth application-default login` again, or "
                "give the service account a new key"
            )
        if isinstance(error, exceptions.Unauthorized):
            return ServiceError(
                f"Vertex AI rejected the credentials (401: {said}). Run `gcloud auth application-default login`"
            )
        if isinstance(error, exceptions.Forbidden):
            if "SERVICE_DISABLED" in str(error) or "has not been used in project" in str(error):
                return ServiceError(
                    f"the Vertex AI API is disabled in {target.project} (403). Enable it: "
                    f"gcloud services enable aiplatform.googleapis.com --project={target.project}"
                )
            return ServiceError(f"not allowed in project {target.project} (403: {said}). {advice.forbidden}")
        if isinstance(error, exceptions.NotFound):
            return ServiceError(
                f"Vertex AI found no such resource in {target.location} (404: {said}). {advice.not_found}"
            )
        if isinstance(error, exceptions.TooManyRequests):
            return ServiceError(
                f"the project's quota is exhausted after {attempts} attempt(s) (429: {said}). Wait for a minute, or "
                f"ask for more: {target.console_url('iam-admin/quotas')}"
            )
        if isinstance(error, exceptions.BadRequest):
            return ServiceError(f"Vertex AI refuses the request (400: {said}). {advice.bad_request}")
        if is_transient(error):
            return ServiceError(
                f"{target.api} gave no valid answer after {attempts} attempt(s) ({said}). The request itself is valid. "
                f"Check https://status.cloud.google.com and the network, {advice.unanswered}"
            )
        return ServiceError(f"Vertex AI failed: {said}")


@contextmanager
def credentials_needed() -> Iterator[None]:
    """Turns the lack of credentials into a message that says how to get them.

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


def is_transient(error: Exception) -> bool:
    """Returns whether the same call may succeed a little later."""
    return isinstance(error, _TRANSIENT) or _token_request_failed(error)


def is_out_of_quota(error: Exception) -> bool:
    """Returns whether the call was refused for lack of quota, before the service did anything."""
    return isinstance(error, exceptions.TooManyRequests)


def _token_request_failed(error: Exception) -> bool:
    """Returns whether the token server did not answer."""
    return isinstance(error, auth_exceptions.TransportError) or (
        isinstance(error, auth_exceptions.RefreshError) and bool(getattr(error, "retryable", False))
    )


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    message = getattr(error, "message", "") or str(error) or type(error).__name__
    return str(message).strip().splitlines()[0]
