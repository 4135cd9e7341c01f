import json
from pathlib import Path

import pytest

from pipeline.rehearsal.buckets import Buckets, link_data
from pipeline.rehearsal.spec import parse_plan
from trainer_module.errors import ConfigError

from .jobs import JobBuilder, container


def test_every_bucket_becomes_a_directory_wherever_it_stands():
    buckets = Buckets(Path("/b"))
    container_input = json.dumps({"checkpoints": "gs://my-bucket/x", "text": 'a "gs://other_bucket.1" b'})
    local = buckets.local({"args": ["--temp=gs://my-bucket/temp", container_input], "gs": 3})
    assert local["args"][0] == "--temp=/b/my-bucket/temp"
    assert json.loads(local["args"][1]) == {"checkpoints": "/b/my-bucket/x", "text": 'a "/b/other_bucket.1" b'}
    assert local["gs"] == 3
    assert buckets.replaced == {"my-bucket", "other_bucket.1"}


def test_a_directory_that_breaks_json_is_refused():
    with pytest.raises(ConfigError, match="without quotes"):
        Buckets(Path('/a"b'))


class TestData:
    @pytest.fixture
    def tasks(self, tmp_path):
        return parse_plan(Buckets(tmp_path / "buckets").local(JobBuilder().reader().job)).tasks

    @pytest.fixture
    def data(self, tmp_path):
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "u.data").write_text(name)
        return tmp_path / "first"

    def test_raw_files_appear_where_the_pipeline_reads(self, tmp_path, tasks, data):
        assert link_data(tasks, data) == tmp_path / "buckets" / "my-bucket" / "raw"
        assert (tmp_path / "buckets" / "my-bucket" / "raw" / "u.data").read_text() == "first"
        link_data(tasks, data.with_name("second"))
        assert (tmp_path / "buckets" / "my-bucket" / "raw" / "u.data").read_text() == "second"

    def test_raw_files_may_lie_there_already(self, tmp_path, tasks, data):
        with pytest.raises(ConfigError, match="the raw files are missing; name their directory with --data-dir"):
            link_data(tasks, None)
        target = tmp_path / "buckets" / "my-bucket" / "raw"
        target.mkdir(parents=True)
        assert link_data(tasks, None) == target
        with pytest.raises(ConfigError, match="already holds files"):
            link_data(tasks, data)

    def test_a_directory_that_is_not_there_is_refused(self, tmp_path, tasks):
        with pytest.raises(ConfigError, match="no such directory"):
            link_data(tasks, tmp_path / "missing")

    def test_a_pipeline_that_reads_nothing_is_refused(self, data):
        with pytest.raises(ConfigError, match="from 0 directories"):
            link_data(parse_plan(JobBuilder().task("a", container()).job).tasks, data)
