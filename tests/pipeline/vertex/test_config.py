import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config import load_config
from pipeline.vertex.config import Schedule, VertexConfig
from trainer_module.errors import ConfigError

from .experiments import SECTION, experiment


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("project", "123456", r"expected a project id, as in my-project: 6 to 30"),
        ("project", "My-Project", r"expected a project id"),
        ("region", "us-central1-a", r"expected a region.*us-central1 is the region of that zone"),
        ("region", "Iowa", r"expected a region, as in us-central1 or europe-west4"),
        ("bucket", "my-bucket", r"expected a URI of Cloud Storage, as in gs://my-bucket"),
        ("bucket", "s3://my-bucket", r"expected a URI of Cloud Storage"),
        ("bucket", "gs://My_Bucket", r"'My_Bucket' cannot be the name of a bucket: 3 to 63 lower-case"),
        ("bucket", "gs://a", r"'a' cannot be the name of a bucket"),
        ("data", "gs://my-bucket/*.csv", r"a plain folder after the bucket, without spaces, wildcards"),
        ("data", "gs://my-bucket/a/../b", r"a plain folder after the bucket"),
        ("image", "us-docker.pkg.dev/p/r/image", r"has no tag.*write us-docker\.pkg\.dev/p/r/image:TAG, or its digest"),
        ("image", "us-docker.pkg.dev/p/r/image:latest", r"the tag latest moves with every push"),
        ("image", "image:1", r"expected an image with registry and tag"),
        ("tpu_image", "us-docker.pkg.dev/p/r/tpu", r"has no tag"),
        ("service_account", "me@gmail.com", r"expected a service account, as in name@my-project\.iam"),
        ("network", "default", r"expected the full name of a network with the project's number"),
        ("labels", {"Team": "x"}, r"'Team' cannot be the key of a label: up to 63 lower-case"),
        ("labels", {"team": "A B"}, r"'A B' cannot be the value of label 'team'"),
        ("labels", {f"k{n}": "" for n in range(65)}, r"65 labels; a resource takes 64 at most"),
        ("endpoint", "http://host/path", r"expected the address of an API"),
        ("schedule", {"cron": "@daily"}, r"expected five fields, minute, hour"),
        (
            "schedule",
            {"cron": "60 * * * *"},
            r"'60' is not a valid minute: expected \*, a number or a range from 0 to 59",
        ),
        ("schedule", {"cron": "0 3 * * mon-fry"}, r"'mon-fry' is not a valid day of week"),
        ("schedule", {"cron": "0 3 * * *", "time_zone": "Berlin"}, r"time zone of the IANA database, as in UTC or"),
        ("schedule", {"cron": "0 3 * * *", "start": "2030-01-01T00:00:00"}, r"start: expected an offset from UTC"),
        (
            "schedule",
            {"cron": "0 3 * * *", "start": "2030-01-02T00:00:00Z", "end": "2030-01-01T00:00:00Z"},
            r"start must be before end",
        ),
        ("regoin", "us-central1", r"vertex\.regoin: unknown key\. Did you mean vertex\.region\?"),
        ("trainer", {"machin": "x"}, r"vertex\.trainer\.machin: unknown key\. Did you mean vertex\.trainer\.machine\?"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_was_expected(key, value, message):
    with pytest.raises(ConfigError, match=message) as refused:
        experiment({key: value})
    assert f"vertex.{key}" in str(refused.value)


@pytest.mark.parametrize("key", SECTION)
def test_what_is_needed_is_named(key):
    section = {name: value for name, value in SECTION.items() if name != key}
    with pytest.raises(ConfigError, match=rf"vertex\.{key}: this key is missing"):
        load_config(overrides={"vertex": section})


@pytest.mark.parametrize(
    "section",
    [
        {"bucket": "gs://my-bucket/"},
        {"bucket": "gs://my.domain.example/a/b"},
        {"image": f"us-docker.pkg.dev/p/r/image@sha256:{'0' * 64}"},
        {"image": "localhost:5000/image:v1"},
        {"project": "example.com:my-project"},
        {"region": "northamerica-northeast1"},
        {"labels": {"a": "", "team_1": "x-y"}},
        {"schedule": {"cron": "*/15 0-6,22 1 jan,jul mon-fri", "time_zone": "Europe/Berlin"}},
        {"service_account": "123-compute@developer.gserviceaccount.com"},
    ],
)
def test_what_is_right_is_taken(section):
    assert experiment(section).vertex


def test_folders_end_without_a_slash():
    vertex = VertexConfig.model_validate(SECTION | {"bucket": "gs://my-bucket/"})
    assert vertex.under_bucket("serving", "small") == "gs://my-bucket/serving/small"


def test_a_schedule_tells_its_time_zone():
    assert Schedule(cron="0  3 * * *", time_zone="Asia/Tokyo").cron_in_zone == "TZ=Asia/Tokyo 0 3 * * *"


@pytest.mark.parametrize("section", [{"runner": "dataflow"}, {"runner": "direct", "workers": 2}, {}, None])
def test_the_former_section_beam_is_refused_and_its_new_place_named(section):
    with pytest.raises(ConfigError, match=r"^vertex: the keys of vertex\.beam are now in the section beam") as refused:
        experiment({"beam": section})
    assert "write runner: local in place of runner: direct" in str(refused.value)
    with pytest.raises(ConfigError, match=r"^vertex: the keys of vertex\.beam are now in the section beam"):
        load_config(overrides={"vertex": dict(SECTION), "vertex.beam.runner": "dataflow"})


@given(st.text(max_size=40), st.sampled_from(sorted(SECTION)))
def test_any_text_is_taken_or_refused_in_words(text, key):
    try:
        taken = getattr(VertexConfig.model_validate(SECTION | {key: text}), key)
    except ValidationError as error:
        assert all(detail["type"] == "value_error" for detail in error.errors())
        return
    assert taken.rstrip("/") == text.rstrip("/")
    assert not set(taken) & set(string.whitespace)


fields = [st.integers(low, high) for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))]


@given(st.tuples(*fields))
def test_every_moment_is_a_cron(moment):
    text = " ".join(map(str, moment))
    assert Schedule(cron=text).cron == text


@given(st.text(alphabet="0123456789*/-, abc", max_size=20))
def test_any_cron_is_taken_or_refused_in_words(text):
    try:
        assert len(Schedule(cron=text).cron.split()) == 5
    except ValidationError as error:
        assert all(detail["type"] == "value_error" for detail in error.errors())
