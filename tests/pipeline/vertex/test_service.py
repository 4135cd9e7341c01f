"""The real client against a local server: what goes over the wire, what is tried again, what is said."""

import pytest
from google.cloud.aiplatform_v1 import types

from components.google_cloud.calls import Patience, ServiceError
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.service import VertexService
from trainer_module.errors import SetupError

from .experiments import SECTION
from .server import Fault

LOCATION = "projects/my-project/locations/us-central1"
JOBS = f"/v1/{LOCATION}/pipelineJobs"
QUICK = Patience(attempt=0.5, first_wait=0.01, longest_wait=0.02, total=5.0)


@pytest.fixture
def service(server, credentials):
    return VertexService(VertexConfig.model_validate(SECTION | {"endpoint": server.url}), QUICK)


def request(name: str = "run-1") -> types.CreatePipelineJobRequest:
    job = types.PipelineJob(display_name=name, pipeline_spec={"schemaVersion": "2.0.0"})
    return types.CreatePipelineJobRequest(parent=LOCATION, pipeline_job=job, pipeline_job_id=name)


def test_a_run_is_created_with_one_request(server, service):
    created = service.create_run(request())
    assert created.name == f"{LOCATION}/pipelineJobs/run-1"
    (sent,) = server.requests
    assert (sent.method, sent.path, sent.query["pipelineJobId"]) == ("POST", JOBS, "run-1")
    assert sent.body == {"displayName": "run-1", "pipelineSpec": {"schemaVersion": "2.0.0"}}
    assert sent.token == "Bearer token-of-the-test"


def test_runs_are_shown_listed_and_cancelled(server, service):
    for number in range(5):
        service.create_run(request(f"run-{number}"))
    assert service.get_run("run-3").state == types.PipelineState.PIPELINE_STATE_PENDING
    service.cancel_run("run-3")
    assert service.get_run("run-3").state == types.PipelineState.PIPELINE_STATE_CANCELLING
    assert [run.name.rpartition("/")[2] for run in service.list_runs(2)] == ["run-4", "run-3"]
    assert len(service.list_runs(100)) == 5
    assert server.asked[-5:] == [
        ("GET", f"{JOBS}/run-3"),
        ("POST", f"{JOBS}/run-3:cancel"),
        ("GET", f"{JOBS}/run-3"),
        ("GET", JOBS),
        ("GET", JOBS),
    ]
    assert server.requests[-1].query["orderBy"] == "create_time desc"


def test_long_lists_come_in_pages(server, service):
    for number in range(103):
        service.create_run(request(f"run-{number}"))
    server.requests.clear()
    assert len(service.list_runs(1000)) == 103
    assert [sent.query.get("pageToken", "") for sent in server.requests] == ["", "100"]


@pytest.mark.parametrize(
    "fault",
    [Fault(429), Fault(500), Fault(502), Fault(503), Fault(504), Fault(0), Fault(200, seconds=0.8)],
    ids=["429", "500", "502", "503", "504", "closed", "late"],
)
def test_what_passes_is_tried_again(server, service, fault):
    server.faults = [fault, fault]
    assert service.create_run(request()).name.endswith("run-1")
    assert server.asked == [("POST", JOBS)] * 3


@pytest.mark.parametrize("fault", [Fault(0, after=True), Fault(503, after=True), Fault(200, seconds=0.8, after=True)])
def test_an_answer_that_is_lost_starts_no_second_run(server, service, fault):
    server.faults = [fault]
    assert service.create_run(request()).name.endswith("run-1")
    assert server.asked == [("POST", JOBS), ("POST", JOBS), ("GET", f"{JOBS}/run-1")]
    assert len(server.resources) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            Fault(400, "bucket my-bucket does not exist"),
            r"400: .*does not exist.*the bucket \(gs://my-bucket/recspan\)",
        ),
        (Fault(401, "who"), r"401: .*who.*gcloud auth application-default login"),
        (Fault(403, "denied"), r"403: .*denied.*roles/aiplatform\.user.*roles/iam\.serviceAccountUser"),
        (
            Fault(403, "Vertex AI API has not been used in project 1 before", "SERVICE_DISABLED"),
            r"gcloud services enable aiplatform\.googleapis\.com --project=my-project",
        ),
        (
            Fault(404, "nowhere"),
            r"found no such resource in projects/my-project/locations/us-central1 \(404: .*nowhere",
        ),
    ],
    ids=["400", "401", "403", "403-disabled", "404"],
)
def test_what_does_not_pass_is_said_at_once(server, service, fault, message):
    server.faults = [fault, fault, fault]
    with pytest.raises(ServiceError, match=message):
        service.create_run(request())
    # A 401 may mean an old token: Google's library renews it twice before it gives up.
    assert len(server.requests) == (3 if fault.status == 401 else 1)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, r"quota is exhausted after \d+ attempt\(s\) \(429: .*iam-admin/quotas\?project=my-project"),
        (503, r"gave no valid answer after \d+ attempt\(s\) .*try a run again with the same --run-name"),
        (0, r"gave no valid answer after"),
    ],
)
def test_patience_ends(server, credentials, status, message):
    section = VertexConfig.model_validate(SECTION | {"endpoint": server.url})
    service = VertexService(section, Patience(attempt=0.5, first_wait=0.01, longest_wait=0.02, total=1.0))
    server.faults = [Fault(status)] * 1000
    with pytest.raises(ServiceError, match=message):
        service.create_run(request())
    assert len(server.requests) > 2


def test_a_name_that_is_taken_is_said(server, service):
    service.create_run(request())
    with pytest.raises(ServiceError, match=r"a run called run-1 exists already; .* another --run-name"):
        service.create_run(request())


def schedule() -> types.CreateScheduleRequest:
    of_job = types.CreatePipelineJobRequest(parent=LOCATION, pipeline_job=request().pipeline_job)
    resource = types.Schedule(
        display_name="s", cron="0 3 * * *", create_pipeline_job_request=of_job, max_concurrent_run_count=1
    )
    return types.CreateScheduleRequest(parent=LOCATION, schedule=resource)


def test_a_schedule_waits_for_quota_and_is_otherwise_sent_once(server, service):
    server.faults = [Fault(429), Fault(429)]
    assert service.create_schedule(schedule()).name == f"{LOCATION}/schedules/1"
    server.requests.clear()
    server.faults = [Fault(503, after=True)]
    with pytest.raises(ServiceError, match=r"after 1 attempt\(s\).*pipelines/schedules\?project=my-project"):
        service.create_schedule(schedule())
    assert server.asked == [("POST", f"/v1/{LOCATION}/schedules")]


def test_without_credentials_the_message_says_how_to_get_some(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(SetupError, match="gcloud auth application-default login"):
        VertexService(VertexConfig.model_validate(SECTION))


def test_credentials_that_are_not_accepted_are_said(server, credentials):
    credentials.write_text(credentials.read_text().replace("/token", "/revoked"))
    service = VertexService(VertexConfig.model_validate(SECTION | {"endpoint": server.url}), QUICK)
    with pytest.raises(ServiceError, match="the credentials are not accepted"):
        service.create_run(request())


def test_nobody_at_the_address_is_said(credentials):
    section = VertexConfig.model_validate(SECTION | {"endpoint": "http://127.0.0.1:9"})
    service = VertexService(section, Patience(attempt=0.5, first_wait=0.01, longest_wait=0.02, total=0.1))
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9 gave no valid answer"):
        service.create_run(request())
