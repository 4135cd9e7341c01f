"""The local replacement of Vertex AI Training, with jobs of one line."""

import os

import pytest
from google.cloud.aiplatform_v1.types import JobState

from pipeline.rehearsal.custom_job import LocalJobService

PARENT = "projects/my-project/locations/us-central1"


def job(code: str, **fields) -> dict:
    """Returns a job whose first worker pool runs a line of Python."""
    container = {"image_uri": "registry/image:1", "command": ["python", "-c", code]} | fields
    pools = [
        {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": container},
        {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": {"command": ["no"]}},
    ]
    return {"display_name": "small-trainer", "job_spec": {"worker_pool_specs": pools}, "labels": {}}


@pytest.fixture
def service() -> LocalJobService:
    return LocalJobService(client_options={"api_endpoint": "us-central1-aiplatform.googleapis.com"})


def test_the_command_of_the_first_pool_runs_in_its_environment(service, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGE", "has this")
    code = f"import os; open(r'{tmp_path}/seen', 'w').write(os.environ['IMAGE'] + os.environ['NAME'])"
    created = service.create_custom_job(
        parent=PARENT, custom_job=job(code, env=[{"name": "NAME", "value": " and that"}])
    )
    assert (tmp_path / "seen").read_text() == "has this and that"
    assert "NAME" not in os.environ
    assert created.name == f"{PARENT}/customJobs/1"
    assert service.get_custom_job(name=created.name, retry=None).state == JobState.JOB_STATE_SUCCEEDED


def test_a_command_that_fails_is_a_job_that_failed(service):
    created = service.create_custom_job(parent=PARENT, custom_job=job("raise SystemExit(7)"))
    assert created.state == JobState.JOB_STATE_FAILED
    assert "exit code 7" in created.error.message


def test_a_request_that_is_no_custom_job_is_refused(service):
    with pytest.raises(ValueError, match="spec_of_job"):
        service.create_custom_job(parent=PARENT, custom_job=job("") | {"spec_of_job": {}})
