"""The component VertexDeployer."""

import json
from functools import partial

import pytest
from tfx.types import standard_artifacts

from components.google_cloud.calls import Patience
from components.vertex_deployer import component
from components.vertex_deployer.component import VertexDeployer
from components.vertex_deployer.config import DeployConfig
from components.vertex_deployer.service import DeploymentService
from pipeline.config import Locations
from pipeline.platforms import local_platform
from pipeline.vertex.compile import compile_job
from pipeline.vertex.platform import vertex_platform
from trainer_module.errors import ConfigError

from .deployment_server import NUMBERED, DeploymentServer
from .experiments import experiment
from .server import running

DEPLOY = {"endpoint": {"machine": "n1-standard-4"}}
PUSHED = {"push": True, "reason": "all thresholds hold"}


@pytest.fixture
def server():
    with running(DeploymentServer()) as started:
        yield started


@pytest.fixture
def step(server, credentials, tmp_path, monkeypatch):
    """Returns a function that runs the component after a Pusher's summary and returns the output artifact."""
    monkeypatch.setattr(component, "DeploymentService", partial(DeploymentService, patience=Patience(poll=0.01)))

    def run(**summary) -> standard_artifacts.PushedModel:
        pushed, deployed = standard_artifacts.PushedModel(), standard_artifacts.PushedModel()
        pushed.uri, deployed.uri = str(tmp_path / "pushed"), str(tmp_path / "deployed")
        (tmp_path / "pushed").mkdir()
        (tmp_path / "pushed" / "summary.json").write_text(json.dumps(summary))
        target = experiment({"endpoint": server.url}).vertex.target
        properties = {
            "target": target.model_dump_json(),
            "deploy": DeployConfig.model_validate(DEPLOY).model_dump_json(),
            "pipeline_name": "small",
            "source_hash": "",
        }
        VertexDeployer.test_call(pushed_model=pushed, deployed_model=deployed, **properties)
        return deployed

    return run


def test_what_was_pushed_is_deployed(server, step, tmp_path):
    deployed = step(blessing=PUSHED, pushed_to="gs://my-bucket/recspan/serving/small/3")
    assert server.changes == ["POST models:upload", "POST endpoints", "POST endpoints/1:deployModel"]
    assert deployed.get_int_custom_property("deployed") == 1
    assert deployed.get_string_custom_property("model") == f"{NUMBERED}/models/small@1"
    assert json.loads((tmp_path / "deployed" / "deployment.json").read_text()) == {
        "model": f"{NUMBERED}/models/small@1",
        "endpoint": f"{NUMBERED}/endpoints/1",
    }


def test_what_was_refused_is_not_deployed(server, step, caplog):
    deployed = step(blessing={"push": False, "reason": "a metric misses its threshold"})
    assert not server.requests
    assert deployed.get_int_custom_property("deployed") == 0
    assert "not deployed: a metric misses its threshold" in caplog.text


def test_in_a_rehearsal_the_requests_are_written_down(server, step, tmp_path):
    step(blessing=PUSHED, pushed_to=str(tmp_path / "buckets" / "small" / "1"))
    assert not server.requests
    planned = json.loads((tmp_path / "deployed" / "requests.json").read_text())
    assert [each["method"] for each in planned][-1] == "EndpointService.DeployModel"


def test_the_step_follows_the_pusher_on_vertex_ai_only_if_asked_for(tmp_path):
    config = experiment({"deploy": DEPLOY})
    root = compile_job(config)["pipelineSpec"]["root"]["dag"]["tasks"]
    assert root["VertexDeployer"]["dependentTasks"] == ["Pusher"]
    assert "VertexDeployer" not in compile_job(experiment())["pipelineSpec"]["root"]["dag"]["tasks"]
    assert vertex_platform(config.vertex, config).deployer is not None
    assert local_platform(Locations.resolve(config, tmp_path), "small", config.beam).deployer is None


def test_a_name_that_no_model_can_have_is_refused_at_compile_time():
    with pytest.raises(ConfigError, match=r"vertex\.deploy\.model: the pipeline's name has 64 characters"):
        compile_job(experiment({"deploy": DEPLOY}, name="a" * 64))
