"""The window of spans from run to run of TFX's local runner, with its cache."""

from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from pipeline.beam import in_process_args


class Project:
    """Days of clicks, and a pipeline that does nothing but ingest them."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(directory / "metadata.sqlite"))

    def deliver(self, day: int, version: int = 1) -> None:
        file = self.directory / "clicks" / f"day-{day}" / f"v{version}" / "part.csv"
        file.parent.mkdir(parents=True)
        file.write_text("clicked,user\n" + "".join(f"{row % 2},u{row % 9}\n" for row in range(100 * day + version)))

    def run(self, **changes) -> list[tuple[str, int, int]]:
        """Spans, version of the last one, and rows: of what each run so far has read, cached ones excepted."""
        files = f"{self.directory}/clicks/day-{{SPAN}}/v{{VERSION}}/*.csv"
        clicks = {"files": files, "label": "clicked", "categorical": ["user"]}
        data = DataConfig.model_validate({"interactions": clicks, "task": "click", "window": 2} | changes)
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="clicks",
            pipeline_root=str(self.directory / "artifacts"),
            components=[TablesExampleGen(data.directory, data.portable()).with_id("ExampleGen")],
            metadata_connection_config=self.metadata,
            enable_cache=True,
            beam_pipeline_args=list(in_process_args()),
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        store = metadata_store.MetadataStore(
            metadata_store_pb2.ConnectionConfig.FromString(self.metadata.SerializeToString())
        )
        read = []
        for artifact in store.get_artifacts_by_type("Examples"):
            kept = artifact.custom_properties
            rows = sum(kept[f"rows_{split}"].int_value for split in ("train", "eval", "test"))
            assert artifact.properties["span"].int_value == kept["span"].int_value
            read.append((kept["spans"].string_value, kept["version"].int_value, rows))
        return read


@pytest.fixture
def project(tmp_path) -> Project:
    made = Project(tmp_path)
    for day in (1, 2, 3):
        made.deliver(day)
    return made


def test_a_new_day_moves_the_window_and_nothing_new_is_answered_from_the_cache(project):
    first = ("2-3", 1, 201 + 301)
    assert project.run() == [first]
    assert project.run() == [first]
    project.deliver(4)
    second = ("3-4", 1, 301 + 401)
    assert project.run() == [first, second]
    # Another delivery of a day, a backfill, and another length.
    project.deliver(4, version=2)
    third = ("3-4", 2, 301 + 402)
    assert project.run() == [first, second, third]
    backfill = ("1-2", 1, 101 + 201)
    assert project.run(last_span=2) == [first, second, third, backfill]
    assert project.run(window=1)[-1] == ("4", 2, 402)
