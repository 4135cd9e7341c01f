"""Tests `recspan pipeline deploy` and its requests against a local server."""

import json
from dataclasses import replace
from functools import partial

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.google_cloud.calls import Patience, ServiceError
from components.vertex_deployer.config import DeployConfig
from components.vertex_deployer.deploy import deploy, planned_requests
from components.vertex_deployer.requests import NEW, DeploymentRequests, request_json, traffic_split
from components.vertex_deployer.service import DeploymentService
from components.vertex_deployer.version import PushedVersion, described_version
from trainer_module.errors import ConfigError, ModelError

from .deployment_server import NUMBERED, PLACE, DeploymentServer
from .experiments import experiment
from .server import Fault, running

QUICK = Patience(attempt=2.0, first_wait=0.01, longest_wait=0.02, total=2.0, poll=0.01, operation=2.0)
URI = "gs://my-bucket/recspan/serving/small/3"
PUSHED = {"blessing": {"push": True, "reason": "all thresholds hold"}}
ACCOUNT = "runs@my-project.iam.gserviceaccount.com"
SERVING_IMAGE = "us-central1-docker.pkg.dev/my-project/recspan/serving:2.19"
EVERYTHING = {
    "endpoint": {"machine": "n1-standard-4", "max_replicas": 3},
    "vector_search": {"endpoint": {"machine": "e2-standard-2"}},
}


@pytest.fixture
def server():
    with running(DeploymentServer()) as started:
        yield started


@pytest.fixture
def service(server, credentials):
    return DeploymentService(experiment({"endpoint": server.url}).vertex.target, QUICK)


def deployer(section=None, vertex=None, version=None) -> DeploymentRequests:
    config = experiment(vertex)
    chosen = DeployConfig.model_validate(section or {})
    return DeploymentRequests(config.vertex.target, chosen, version or PushedVersion(URI, "small", 32))


def next_version(of: DeploymentRequests) -> DeploymentRequests:
    return replace(of, version=PushedVersion(URI.replace("/3", "/4"), "small", 32))


def test_a_first_deployment_makes_everything(server, service):
    section = EVERYTHING | {"aliases": ["default", "best"]}
    made = deploy(deployer(section, {"labels": {"team": "x"}, "service_account": ACCOUNT}), service)
    assert made.as_json() == {
        "model": f"{NUMBERED}/models/small@1",
        "index": f"{NUMBERED}/indexes/1",
        "index_endpoint": f"{NUMBERED}/indexEndpoints/2",
        "endpoint": f"{NUMBERED}/endpoints/3",
    }
    assert server.changes == [
        "POST models:upload",
        "POST indexes",
        "POST indexEndpoints",
        "POST indexEndpoints/2:deployIndex",
        "POST endpoints",
        "POST endpoints/3:deployModel",
    ]
    assert server.body("models:upload") == {
        "modelId": "small",
        "model": {
            "displayName": "small",
            "versionAliases": ["default", "best"],
            "versionDescription": "small, version 3",
            "artifactUri": URI,
            "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"},
            "labels": {"team": "x"},
        },
    }
    assert server.body("/indexes") == {
        "displayName": "small",
        "indexUpdateMethod": 1,
        "labels": {"team": "x"},
        "metadata": {
            "contentsDeltaUri": f"{URI}/assets.extra/vertex_vector_search",
            "config": {
                "dimensions": 32,
                "approximateNeighborsCount": 150,
                "distanceMeasureType": "DOT_PRODUCT_DISTANCE",
                "shardSize": "SHARD_SIZE_SMALL",
                "algorithmConfig": {
                    "treeAhConfig": {"leafNodeEmbeddingCount": 1000, "leafNodesToSearchPercent": 10},
                },
            },
        },
    }
    assert server.body("/indexEndpoints") == {
        "displayName": "small",
        "labels": {"team": "x"},
        "publicEndpointEnabled": True,
    }
    assert server.body(":deployIndex")["deployedIndex"] == {
        "id": "small_1",
        "index": f"{NUMBERED}/indexes/1",
        "displayName": "small",
        "dedicatedResources": {
            "machineSpec": {"machineType": "e2-standard-2"},
            "minReplicaCount": 1,
            "maxReplicaCount": 1,
        },
    }
    assert server.body("/endpoints") == {"displayName": "small", "labels": {"team": "x"}}
    assert server.body(":deployModel") == {
        "deployedModel": {
            "model": f"{NUMBERED}/models/small@1",
            "displayName": "small-3",
            "serviceAccount": ACCOUNT,
            "dedicatedResources": {
                "machineSpec": {"machineType": "n1-standard-4"},
                "minReplicaCount": 1,
                "maxReplicaCount": 3,
            },
        },
        "trafficSplit": {"0": 100},
    }


def test_the_same_again_only_imports_the_vectors_anew(server, service):
    first = deploy(deployer(EVERYTHING), service)
    server.requests.clear()
    assert deploy(deployer(EVERYTHING), service) == first
    assert server.changes == ["PATCH indexes/1"]


def test_a_second_version_stacks_up_and_takes_the_traffic(server, service):
    deploy(deployer(EVERYTHING), service)
    server.requests.clear()
    made = deploy(next_version(deployer(EVERYTHING)), service)
    assert made.model == f"{NUMBERED}/models/small@2"
    assert server.changes == [
        "POST models:upload",
        "PATCH indexes/1",
        "POST endpoints/3:deployModel",
        "POST endpoints/3:undeployModel",
    ]
    upload = server.body("models:upload")
    assert (upload["parentModel"], "modelId" in upload) == (f"{PLACE}/models/small", False)
    sent = server.requests[[request.method for request in server.requests].index("PATCH")]
    assert sent.query["updateMask"] == "metadata"
    assert sent.body["metadata"] == {
        "contentsDeltaUri": "gs://my-bucket/recspan/serving/small/4/assets.extra/vertex_vector_search",
        "isCompleteOverwrite": True,
    }
    endpoint = server.resources[f"{NUMBERED}/endpoints/3"]
    assert [deployed["modelVersionId"] for deployed in endpoint["deployedModels"]] == ["2"]


def test_versions_share_the_traffic_if_asked_to(server, service):
    section = {"endpoint": {"machine": "n1-standard-4", "traffic": 10}}
    deploy(deployer(section), service)
    (first,) = server.resources[f"{NUMBERED}/endpoints/1"]["trafficSplit"]
    deploy(next_version(deployer(section)), service)
    assert server.body(":deployModel")["trafficSplit"] == {NEW: 10, first: 90}
    assert not [change for change in server.changes if change.endswith("undeployModel")]


def test_versions_without_traffic_stay_if_asked_to(server, service):
    section = {"endpoint": {"machine": "n1-standard-4", "undeploy": False}}
    deploy(deployer(section), service)
    deploy(next_version(deployer(section)), service)
    assert len(server.resources[f"{NUMBERED}/endpoints/1"]["deployedModels"]) == 2


@pytest.mark.parametrize(
    ("current", "share", "expected"),
    [
        ({}, 30, {NEW: 100}),
        ({"7": 100}, 100, {NEW: 100, "7": 0}),
        ({"7": 100, "8": 0}, 10, {NEW: 10, "7": 90}),
        # 80 are left: 26.4, 26.4 and 27.2; the one that rounding left over goes to the first of those that lost most.
        ({"7": 33, "8": 33, "9": 34}, 20, {NEW: 20, "7": 27, "8": 26, "9": 27}),
        ({"7": 100}, 0, {NEW: 0, "7": 100}),
    ],
)
def test_the_traffic_is_split_as_before(current, share, expected):
    assert traffic_split(current, share) == expected


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(0, 100))
def test_the_traffic_adds_up(weights, share):
    shares = [weight * 100 // sum(weights) for weight in weights]
    shares[0] += 100 - sum(shares)
    split = traffic_split({str(number): part for number, part in enumerate(shares, 1)}, share)
    assert sum(split.values()) == 100
    assert all(part >= 0 for part in split.values())


def test_tensorflow_serving_reads_the_very_version(server, service):
    section = {"serving": {"type": "tensorflow_serving", "image": SERVING_IMAGE, "port": 8080}}
    deploy(deployer(section), service)
    (start,) = server.body("models:upload")["model"]["containerSpec"].pop("args")
    assert server.body("models:upload")["model"]["containerSpec"] == {
        "imageUri": SERVING_IMAGE,
        "command": ["sh", "-c"],
        "ports": [{"containerPort": 8080}],
        "predictRoute": "/v1/models/small:predict",
        "healthRoute": "/v1/models/small",
    }
    assert 'base_path: "gs://my-bucket/recspan/serving/small"' in start
    assert "specific { versions: 3 }" in start
    assert "tensorflow_model_server --rest_api_port=8080" in start


@pytest.mark.parametrize(
    ("region", "continent"), [("us-west1", "us"), ("europe-west4", "europe"), ("asia-east1", "asia")]
)
def test_the_prebuilt_image_comes_from_the_nearest_registry(region, continent):
    image = deployer({}, {"region": region}).container().image_uri
    assert image.startswith(f"{continent}-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.")


def test_an_index_endpoint_in_a_network_is_not_public():
    network = "projects/12345/global/networks/mine"
    of = deployer(EVERYTHING, {"network": network})
    made = of.create_index_endpoint(of.config.vector_search.endpoint).index_endpoint
    assert (made.network, made.public_endpoint_enabled) == (network, False)


def test_brute_force_has_no_tree():
    of = deployer({"vector_search": {"algorithm": "brute_force"}})
    config = json.loads(request_json(of.create_index(of.config.vector_search)))["index"]["metadata"]["config"]
    assert config["algorithmConfig"] == {"bruteForceConfig": {}}
    assert "approximateNeighborsCount" not in config


def test_an_index_of_another_dimension_is_refused(server, service):
    deploy(deployer({"vector_search": {}}), service)
    other = replace(deployer({"vector_search": {}}), version=PushedVersion(URI, "small", 64))
    with pytest.raises(ConfigError, match=r"vector_search\.name: the index small .* has 32 dimensions, but .* have 64"):
        deploy(other, service)


def test_two_endpoints_of_one_name_are_not_guessed_at(server, service):
    for number in (1, 2):
        name = f"{NUMBERED}/endpoints/{number}"
        server.resources[name] = {"name": name, "displayName": "small"}
    with pytest.raises(
        ServiceError, match=r"2 endpoints have the display name 'small': .*endpoints/1, .*endpoints/2\. Set another"
    ):
        deploy(deployer({"endpoint": {"machine": "n1-standard-4"}}), service)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            Fault(403, "denied"),
            r"403: .*denied.*The account that deploys .* roles/aiplatform\.user.*roles/iam\.serviceAccountUser",
        ),
        (Fault(400, "no such image"), r"400: .*no such image.*section vertex\.deploy.*pipeline deploy --dry-run"),
        (
            Fault(503, "busy"),
            r"after 1 attempt\(s\).*run the same command again: it finds the resources that were created",
        ),
    ],
    ids=["403", "400", "503"],
)
def test_a_refused_upload_is_sent_once_and_explained(server, service, fault, message):
    server.resources.clear()
    of = deployer({})
    with pytest.raises(ServiceError, match=message):
        deploy(of, _after_looking(server, service, fault))
    assert server.changes == ["POST models:upload"]


def _after_looking(server, service, fault):
    """The service, whose second call fails."""
    answer = server.answer

    def and_then_fail(request):
        server.faults = [fault]
        server.answer = answer
        return answer(request)

    server.answer = and_then_fail
    return service


def test_an_upload_waits_for_quota(server, service):
    assert deploy(deployer({}), _after_looking(server, service, Fault(429))).model.endswith("small@1")
    assert server.changes == ["POST models:upload"] * 2


def test_looking_is_tried_again(server, service):
    server.faults = [Fault(503), Fault(500)]
    deploy(deployer({}), service)
    assert server.changes == ["POST models:upload"]


def test_a_lost_answer_is_found_again(server, service):
    with pytest.raises(ServiceError):
        deploy(deployer({}), _after_looking(server, service, Fault(0, after=True)))
    assert deploy(deployer({}), service).model.endswith("small@1")
    assert len(server.models["small"]) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (7, r"^model: not allowed in project my-project \(403: .*cannot read"),
        (8, r"^model: the project's quota is exhausted.*iam-admin/quotas"),
        (9, r"^model: Vertex AI refuses the request \(400: .*cannot read"),
        (13, r"^model: .*gave no valid answer after"),
    ],
)
def test_an_operation_that_fails_is_explained(server, service, code, message):
    server.failing["upload"] = {"code": code, "message": "cannot read the files"}
    with pytest.raises(ServiceError, match=message):
        deploy(deployer({}), service)


def test_an_operation_that_takes_too_long_is_left_to_the_service(server, credentials):
    service = DeploymentService(experiment({"endpoint": server.url}).vertex.target, replace(QUICK, operation=0.0))
    with pytest.raises(ServiceError, match=r"model: not done after 0 minutes\. The operation projects/.* continues\."):
        deploy(deployer({}), service)


def test_progress_is_said(server, service, caplog):
    with caplog.at_level("INFO", logger="components.vertex_deployer"):
        deploy(deployer({}), service)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("components.")]
    assert said == ["model: under way", "model: done after 0 s"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"serving": "tensorflow_serving"}, r"vertex\.deploy\.serving\.image: this key is missing"),
        ({"serving": {"type": "prebuilt", "image": "my/image"}}, r"vertex\.deploy\.serving\.image"),
        ({"serving": "torchserve"}, r"prebuilt, tensorflow_serving"),
        ({"model": "Small"}, r"vertex\.deploy\.model: expected a text that matches"),
        ({"aliases": ["1"]}, r"vertex\.deploy\.aliases"),
        ({"endpoint": {}}, r"vertex\.deploy\.endpoint\.machine: this key is missing"),
        (
            {"endpoint": {"machine": "n1-standard-4", "traffic": 101}},
            r"endpoint\.traffic: .* at most 100",
        ),
        (
            {"endpoint": {"machine": "n1-standard-4", "min_replicas": 3, "max_replicas": 2}},
            r"max_replicas \(2\) is below min_replicas \(3\)",
        ),
        ({"endpont": {}}, r"vertex\.deploy\.endpont: unknown key\. Did you mean vertex\.deploy\.endpoint\?"),
        ({"vector_search": {}}, r"vertex\.deploy\.vector_search: a rating model has no items' vectors to import"),
        (
            {"vector_search": {"algorithm": "brute_force", "leaf_node_embeddings": 5}},
            r"leaf_node_embeddings: only algorithm: tree_ah has that",
        ),
    ],
)
def test_a_wrong_section_is_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        experiment({"deploy": section})


@pytest.mark.parametrize(
    ("version", "section", "message"),
    [
        (
            PushedVersion("runs/serving/small/3", "small"),
            {},
            r"is on this machine, .*cp --recursive runs/serving/small/3 gs://BUCKET/FOLDER/`, .*--model gs://",
        ),
        (PushedVersion(URI, "small"), {"vector_search": {}}, r"vector_search\.dimensions: .*Set this key, or push"),
        (PushedVersion(URI, "small", 32), {"vector_search": {"dimensions": 64}}, r"dimensions: 64, but .* have 32"),
        (PushedVersion(URI, "a" * 64), {}, r"vertex\.deploy\.model: the pipeline's name has 64 characters"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_anything_is_sent(server, service, version, section, message):
    with pytest.raises(ConfigError, match=message):
        deploy(deployer(section, version=version), service)
    assert not server.requests


def test_a_model_that_was_refused_is_not_deployed():
    summary = {"blessing": {"push": False, "reason": "a metric misses its threshold"}}
    with pytest.raises(ModelError, match=r"3 is not deployed: the model was not pushed \(a metric misses"):
        described_version(URI, "small", summary)


def test_the_dimension_is_the_index_reports():
    assert described_version(URI, "small", PUSHED | {"retrieval_index": {"dim": 48}}).dim == 48
    assert described_version(URI, "small", PUSHED).dim is None


def test_the_plan_is_what_a_deployment_sends(server, service):
    of = deployer(EVERYTHING)
    planned = [each.method.partition(".")[2] for each in planned_requests(of)]
    assert planned == [
        "UploadModel",
        "UploadModel",
        "CreateIndex",
        "UpdateIndex",
        "CreateIndexEndpoint",
        "DeployIndex",
        "CreateEndpoint",
        "DeployModel",
    ]
    deploy(of, service)
    first = json.loads(request_json(next(planned_requests(of)).request))
    assert first.pop("parent") == PLACE
    assert server.body("models:upload") == first


@pytest.fixture
def workspace(tmp_path):
    config = experiment({"deploy": {"endpoint": {"machine": "n1-standard-4"}}})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    return tmp_path


@pytest.fixture
def recspan(workspace, command_line):
    """Returns a function that runs `recspan pipeline deploy` in the workspace."""
    return lambda *arguments: command_line("pipeline", "deploy", *arguments, "--config", "mine.yaml", cwd=workspace)


def push(directory, summary=PUSHED) -> None:
    directory.mkdir(parents=True)
    (directory / "summary.json").write_text(json.dumps(summary))


def test_a_dry_run_shows_the_last_local_version_in_the_bucket(recspan, workspace, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(workspace / "none.json"))
    for number in ("2", "10"):
        push(workspace / "runs" / "serving" / "small" / number)
    process = recspan("--dry-run")
    assert process.returncode == 0, process.stderr
    planned = json.loads(process.stdout)
    assert [each["method"] for each in planned][::3] == ["ModelService.UploadModel", "EndpointService.DeployModel"]
    assert planned[0]["when"] == "there is no model small"
    assert planned[0]["request"]["model"]["artifactUri"] == "gs://my-bucket/recspan/serving/small/10"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run"], "{cwd}/runs/serving/small has no pushed version, and --dry-run does not search the bucket"),
        (["--dry-run", "--model", "nowhere/3"], "nowhere/3 is no pushed version: its summary.json cannot be read"),
        (["--set", "vertex.deploy=null"], "vertex.deploy: the experiment has no such section"),
        (["--model", "runs/serving/small/3"], "runs/serving/small/3 is on this machine"),
    ],
)
def test_mistakes_get_one_message(recspan, workspace, arguments, message):
    process = recspan(*arguments)
    assert process.returncode == 1
    assert process.stderr.startswith("error: " + message.format(cwd=workspace)), process.stderr
    assert "Traceback" not in process.stderr


def test_the_last_whole_version_of_the_bucket_is_deployed(server, credentials, recspan, monkeypatch):
    # The command itself waits ten seconds between two polls of an operation.
    monkeypatch.setattr("pipeline.vertex.deploy.DeploymentService", partial(DeploymentService, patience=QUICK))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    at = ["--set", f"vertex.endpoint={server.url}"]
    missing = recspan(*at)
    assert missing.stderr.startswith("error: gs://my-bucket/recspan/serving/small has no pushed version. `recspan")
    folder = "my-bucket/recspan/serving/small"
    for number in ("9", "10"):
        server.objects[f"{folder}/{number}/summary.json"] = json.dumps(PUSHED).encode()
        server.objects[f"{folder}/{number}/saved_model.pb"] = b"graph"
    server.objects[f"{folder}/11/summary.json"] = b"{}"  # cut short: no saved_model.pb
    process = recspan(*at)
    assert process.returncode == 0, process.stderr
    made = [f"model: {NUMBERED}/models/small@1", f"endpoint: {NUMBERED}/endpoints/1"]
    assert process.stdout.splitlines()[-2:] == made
    assert "model on the endpoint: under way" in process.stdout
    assert server.body("models:upload")["model"]["artifactUri"] == "gs://my-bucket/recspan/serving/small/10"
    other = recspan(*at, "--model", "gs://my-bucket/recspan/serving/small/11")
    assert "small/11 is not a pushed version: it has no saved_model.pb" in other.stderr
