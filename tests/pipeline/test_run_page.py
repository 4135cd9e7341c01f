"""What a local run adds to the component's page."""

from pathlib import Path

import pytest

from components.run_report.page import Page, Section, Text
from pipeline.config import PipelineConfig, load_config
from pipeline.run_page.added import Settings, sections
from pipeline.run_page.flow import flow_of
from pipeline.run_page.write import write_component_page
from tests.pipeline.vertex.experiments import TPU_IMAGE, experiment

ROWS = {"user_id": 944, "movie_id": 1501, "gender": 3, "occupation": 22, "genres": 20}
SUMMARY = {
    "components": [
        {"component": "ExampleGen", "seconds": 0.25, "cached": True},
        {"component": "Trainer", "seconds": 2.5, "cached": False, "peak_memory_gb": 1.5},
    ],
    "examples": {"rows": {"train": 80, "eval": 5, "test": 15}},
    "training": {"table_rows": ROWS},
}


def test_the_flow_adds_up_seconds_and_names_what_was_cached():
    tiles, bars = flow_of(SUMMARY).blocks
    assert [tile.value for tile in tiles.tiles] == ["2.8", "2", "100", "1.50 GB"]
    assert [(bar.label, bar.text, bar.muted) for bar in bars.bars] == [
        ("ExampleGen", "0.2 s, cached", True),
        ("Trainer", "2.5 s", False),
    ]


def placed(config: PipelineConfig):
    """The blocks of the placement as RunReport gets them, after their settings' way through JSON."""
    ((section, before),) = sections(SUMMARY, Settings.of(config).model_dump_json())
    assert (section.id, before) == ("placement", "data")
    return section.blocks


def test_tables_are_placed_on_the_smallest_slices_that_hold_them():
    generations, tables = placed(load_config())
    assert ("v6e", "v6e-1", 1.0) in [row[:3] for row in generations.rows]
    assert [(row[0], row[2]) for row in tables.rows] == [(name, float(rows)) for name, rows in ROWS.items()]
    assert tables.title == "tables on v6e-1"


def test_tables_are_placed_on_the_slice_that_the_experiment_trains_on():
    config = experiment({"tpu_image": TPU_IMAGE, "trainer": {"machine": "v6e-8"}})
    _, tables = placed(config)
    assert tables.title == "tables on v6e-8"


def test_the_page_is_written_with_its_sections_in_order(tmp_path):
    sections = tuple(Section(id=name, title=name, blocks=(Text(text="x"),)) for name in ("verdict", "training", "data"))
    (tmp_path / "page.json").write_text(Page(title="small", subtitle="rating", sections=sections).model_dump_json())
    summary = SUMMARY | {"page": str(tmp_path / "page.json")}
    write_component_page(summary, tmp_path)
    html = Path(summary["report"]).read_text()
    places = [html.index(f'<section id="{name}"') for name in ("verdict", "flow", "training", "data")]
    assert places == sorted(places)
    assert f"run {tmp_path.name} · rating" in html
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_a_page_that_is_gone_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"page\.json"):
        write_component_page(SUMMARY | {"page": str(tmp_path / "page.json")}, tmp_path)
