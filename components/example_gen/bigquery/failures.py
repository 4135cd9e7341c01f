"""Failures of BigQuery in sentences that name the key of the experiment file and the way out."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

from components.example_gen.bigquery.config import BigQueryConfig
from components.google_cloud.calls import ServiceError, first_line, is_transient
from trainer_module.errors import RecspanError, SetupError

# Google's client begins the message with it.
_REQUEST = re.compile(r"^[A-Z]+ https?://\S+: ")
_LOGIN = "Run `gcloud auth application-default login`, or give the service account a new key"
# Statuses by the reason that the service gives, where they differ from a plain refusal of the query (400).
# https://cloud.google.com/bigquery/docs/error-messages
_STATUS_OF_REASON = {
    "accessDenied": 403,
    "accessNotConfigured": 403,
    "billingNotEnabled": 403,
    "blocked": 403,
    "policyViolation": 403,
    "quotaExceeded": 429,
    "rateLimitExceeded": 429,
    "notFound": 404,
    "backendError": 503,
    "internalError": 503,
}


def refusal(error_result: Mapping[str, Any]) -> Exception:
    """The exception of a job that failed.

    Args:
        error_result: `status.errorResult` of the job.
    """
    status = _STATUS_OF_REASON.get(str(error_result.get("reason")), 400)
    return exceptions.from_http_status(status, str(error_result.get("message")), errors=[error_result])


@contextmanager
def translated(where: str, config: BigQueryConfig) -> Iterator[None]:
    """Turns Google's exceptions into errors that say what happened and what to do.

    Args:
        where: Key of the experiment file, such as `data.items.query`.
        config: Where the query runs.

    Raises:
        ServiceError: BigQuery refused, or did not answer.
        SetupError: The credentials are not accepted.
    """
    try:
        yield
    except exceptions.RetryError as error:
        raise _explained(error.cause or error, where, config) from error
    except (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError, requests.RequestException) as error:
        raise _explained(error, where, config) from error


def _explained(error: Exception, where: str, config: BigQueryConfig) -> RecspanError:
    said, text, project = _REQUEST.sub("", first_line(error)), _text_of(error), config.project
    if is_transient(error) and not isinstance(error, exceptions.TooManyRequests):
        return ServiceError(
            f"{where}: BigQuery gave no valid answer ({said}). Check the network and https://status.cloud.google.com, "
            "and run the same command again"
        )
    if isinstance(error, auth_exceptions.GoogleAuthError | exceptions.Unauthorized):
        return SetupError(f"{where}: BigQuery does not accept the credentials ({said}). {_LOGIN}")
    if isinstance(error, exceptions.TooManyRequests) or "quotaExceeded" in text:
        return ServiceError(
            f"{where}: a quota of project {project} is exhausted ({said}). Wait, or ask for more: "
            f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
        )
    if "responseTooLarge" in text or "Response too large" in text:
        return ServiceError(
            f"{where}: the result is too large for a temporary table of BigQuery ({said}). Name a dataset of project "
            f"{project} for it with data.bigquery.dataset"
        )
    if isinstance(error, exceptions.Forbidden):
        return ServiceError(f"{where}: BigQuery does not allow it (403: {said}). {_of_access(text, project)}")
    if isinstance(error, exceptions.NotFound):
        place = f"data.bigquery.location, {config.location}" if config.location else "set data.bigquery.location"
        return ServiceError(
            f"{where}: BigQuery does not find it (404: {said}). Check the names in the query, and {place}, which must "
            "be the location of the datasets"
        )
    if "bytes billed" in text or "bytesBilledLimitExceeded" in text:
        return ServiceError(
            f"{where}: the query reads more than data.bigquery.max_gb, {config.max_gb:g}, allows ({said}). Name fewer "
            "columns or restrict the partitions, or raise it"
        )
    if "time travel" in text.lower() or "snapshot time" in text.lower():
        return ServiceError(
            f"{where}: the table's history does not reach back to data.as_of ({said}). Take a later time; BigQuery "
            "keeps a table's past for seven days at most, and a clone or snapshot of it as long as you like"
        )
    return ServiceError(f"{where}: BigQuery refuses the query ({said}). Mend the query")


def _text_of(error: Exception) -> str:
    """The whole message, with the reasons that BigQuery gives."""
    details = error.errors if isinstance(error, exceptions.GoogleAPICallError) else ()
    reasons = [str(each["reason"]) for each in details if isinstance(each, Mapping) and "reason" in each]
    return " ".join([str(error), *reasons])


def _of_access(text: str, project: str) -> str:
    if "SERVICE_DISABLED" in text or "has not been used in project" in text or "accessNotConfigured" in text:
        return (
            "Enable the APIs: gcloud services enable bigquery.googleapis.com bigquerystorage.googleapis.com "
            f"--project={project}"
        )
    if "billingNotEnabled" in text:
        return f"Enable billing for project {project}, or name another one with data.bigquery.project"
    return (
        f"The account needs the roles roles/bigquery.jobUser and roles/bigquery.readSessionUser in project {project}, "
        "roles/bigquery.dataViewer on the datasets that the query reads, and roles/bigquery.dataEditor on "
        "data.bigquery.dataset if it is set"
    )
