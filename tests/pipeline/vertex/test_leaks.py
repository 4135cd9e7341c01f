import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.vertex.leaks import Machine, check_portable
from trainer_module.errors import ConfigError

MACHINE = Machine(frozenset({"workstation7", "marie"}), frozenset({"/srv/marie", "/opt/product"}))


def deep(text: str):
    return {"a": [{"b": json.dumps({"c": json.dumps({"d": text})})}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/srv/marie", r"/srv/marie of this machine at a\[0\]\.b\.c\.d"),
        ("--setup_file=/opt/product/setup.py", r"would name /opt/product"),
        ("-I/srv/marie/include", r"would name /srv/marie"),
        ('--environment_config={"command": "/srv/marie/boot"}', r"would name /srv/marie"),
        ("path:/data/criteo", r"would name /data/criteo"),
        ("/data/criteo/train.txt", r"would name /data/criteo/train\.txt of this machine"),
        ("file:///data/criteo", r"would name file:///data/criteo"),
        ("~/data", r"would name ~/data"),
        ("C:\\data", r"would name C:\\data"),
        ("built by marie", r"would name 'marie', this machine's host or user, at a\[0\]\.b\.c\.d"),
        ("http://workstation7:8080", r"would name 'workstation7'"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", r"hold a private key at a\[0\]\.b\.c\.d"),  # pragma: allowlist secret
        ("AIza" + "x" * 35, r"an API key of Google"),
        ("ya29." + "x" * 30, r"an access token of Google"),
        ("https://me:secret@host/x", r"a password in a URL"),  # pragma: allowlist secret
    ],
)
def test_what_belongs_to_this_machine_is_refused_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message):
        check_portable(deep(text), MACHINE)


@pytest.mark.parametrize(
    "text",
    [
        "gs://my-bucket/data/criteo/train.txt",
        "us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0",
        "type.googleapis.com/google.protobuf.Struct",
        "projects/12345/global/networks/mine",
        "gs://mariette/x",
        "a marienbad of workstation70",
        "https://www.googleapis.com/compute/v1/projects/p/regions/r/subnetworks/s",
        "{{$.inputs.artifacts['input'].metadata['current_model_id']}}",
        "*/5 * * * *",
        "Action|Adventure/Drama",
        "tfx.components.marie.executor",
        '--environment_config={"command": "/opt/apache/beam/boot"}',
    ],
)
def test_what_is_the_services_is_not(text):
    check_portable(deep(text), MACHINE)


PARTS = st.text(alphabet="abc019_.-", min_size=1, max_size=8)


@given(st.lists(PARTS, min_size=2, max_size=5), st.sampled_from(["", " ", "=", '"']))
def test_every_absolute_path_is_found(parts, before):
    with pytest.raises(ConfigError, match="of this machine"):
        check_portable({"args": [f"x{before}/{'/'.join(parts)}" if before else f"/{'/'.join(parts)}"]}, MACHINE)


@given(st.lists(PARTS, min_size=1, max_size=5))
def test_no_object_of_a_bucket_is(parts):
    check_portable({"uri": f"gs://my-bucket/{'/'.join(parts)}"}, MACHINE)


def test_common_names_tell_nothing(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert not Machine.this().names


def test_a_host_is_known_with_and_without_its_domain(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "marie")
    monkeypatch.setattr("socket.gethostname", lambda: "workstation7.example.org")
    assert Machine.this().names == {"marie", "workstation7", "workstation7.example.org"}
