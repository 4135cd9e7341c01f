"""Types for names on Google Cloud that refuse invalid names. This module imports no Google library."""

import re
from typing import Annotated

from pydantic import AfterValidator

_PROJECT = re.compile(r"([a-z0-9.-]+\.[a-z]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_IMAGE = re.compile(
    r"(?P<registry>[a-z0-9.-]+(:[0-9]+)?)(?P<path>(/[a-z0-9]+([._-]+[a-z0-9]+)*)+)"
    r"(:(?P<tag>\w[\w.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}@[a-z0-9.-]+\.gserviceaccount\.com")
_NETWORK = re.compile(r"projects/[0-9]+/global/networks/[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBNETWORK = re.compile(
    r"(https://www\.googleapis\.com/compute/v1/projects/[a-z0-9.:-]+/)?regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+"
)
_ENDPOINT = re.compile(r"(https?://)?[a-z0-9.-]+(:[0-9]{1,5})?")
# International letters are allowed in labels too, but no service that takes them from here needs any.
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MOST_LABELS = 64


def _project(value: str) -> str:
    if not _PROJECT.fullmatch(value):
        raise ValueError(
            "expected a project id, as in my-project: 6 to 30 lower-case letters, digits and hyphens, a letter first "
            "(`gcloud projects list` shows it; neither the number nor the display name)"
        )
    return value


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        hint = f"; {value[:-2]} is the region of that zone" if _REGION.fullmatch(value[:-2]) else ""
        raise ValueError(f"expected a region, as in us-central1 or europe-west4{hint}")
    return value


def _uri(value: str) -> str:
    """Checks the URI of a directory in Cloud Storage and removes a trailing slash."""
    scheme, separator, rest = value.partition("://")
    if scheme != "gs" or not separator:
        raise ValueError("expected a URI of Cloud Storage, as in gs://my-bucket or gs://my-bucket/folder")
    bucket, _, path = rest.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or any(len(part) > 63 for part in bucket.split(".")):
        raise ValueError(
            f"{bucket!r} cannot be the name of a bucket: 3 to 63 lower-case letters, digits, hyphens, underscores and "
            "dots, a letter or digit first and last. Expected a URI as in gs://my-bucket/folder"
        )
    if re.search(r"[\s\x00-\x1f*?\[\]#]", path) or "" in path.split("/")[:-1] or {".", ".."} & set(path.split("/")):
        raise ValueError(
            "expected a plain folder after the bucket, without spaces, wildcards, empty parts, `.` and `..`, as in "
            "gs://my-bucket/folder"
        )
    return value.rstrip("/")


def _image(value: str) -> str:
    """Checks that an image has a registry and a fixed tag or a digest."""
    match = _IMAGE.fullmatch(value)
    if not match:
        raise ValueError(
            "expected an image with registry and tag, as in us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0"
        )
    if not match["tag"] and not match["digest"]:
        raise ValueError(
            f"the image has no tag, and what runs would change with every push; write {value}:TAG, or its digest"
        )
    if match["tag"] == "latest":
        raise ValueError(
            "the tag latest moves with every push, so a cached step may come from other code; give the image a tag of "
            "its own, or name its digest"
        )
    return value


def _matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > _MOST_LABELS:
        raise ValueError(f"{len(labels)} labels; a resource takes {_MOST_LABELS} at most")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise ValueError(
                f"{key!r} cannot be the key of a label: up to 63 lower-case letters, digits, _ and -, a letter first"
            )
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be the value of label {key!r}: up to 63 lower-case letters, digits, _ and -"
            )
    return labels


Project = Annotated[str, AfterValidator(_project)]
Region = Annotated[str, AfterValidator(_region)]
Uri = Annotated[str, AfterValidator(_uri)]
Image = Annotated[str, AfterValidator(_image)]
ServiceAccount = Annotated[
    str, _matching(_SERVICE_ACCOUNT, "a service account, as in name@my-project.iam.gserviceaccount.com")
]
Network = Annotated[
    str,
    _matching(_NETWORK, "the full name of a network with the project's number, as in projects/12345/global/networks/n"),
]
Subnetwork = Annotated[str, _matching(_SUBNETWORK, "a subnetwork, as in regions/us-central1/subnetworks/name")]
Endpoint = Annotated[str, _matching(_ENDPOINT, "the address of an API, as in us-central1-aiplatform.googleapis.com")]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
