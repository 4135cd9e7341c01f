"""The page of a search."""

import re
from pathlib import Path

import pytest

from components.run_report.page import Bars, Chart, Code, Page, Table, Text, Tiles
from components.run_report.render import render
from pipeline.tuning.page import page_of
from pipeline.tuning.report import Result
from pipeline.tuning.space import Range, SearchSpace, Start
from pipeline.tuning.study import DIVERGED, FINISHED, PRUNED, REFUSED, Trial
from tests.browser import browser_tab, needs_chromium

RATE = "training.embedding_optimizer.learning_rate"
SPACE = SearchSpace(parameters={RATE: Range(low=1e-4, high=1e-1, log=True), "embeddings.dim": (8, 16, 32)})
TRIALS = (
    Trial(0, {}, True, FINISHED, 0.95, 4, 2.0, ""),
    Trial(1, {RATE: 0.03, "embeddings.dim": 16}, False, FINISHED, 0.97, 4, 3.0, ""),
    Trial(2, {RATE: 0.09, "embeddings.dim": 8}, False, PRUNED, 0.99, 2, 1.0, "stopped at step 20"),
    Trial(3, {RATE: 0.1, "embeddings.dim": 8}, False, DIVERGED, None, 0, 1.0, "the loss\nis <not> finite"),
    Trial(4, {RATE: 0.02, "embeddings.dim": 16}, False, FINISHED, 0.91, 4, 0.5, ""),
    Trial(5, {RATE: 0.1, "embeddings.dim": 32}, False, REFUSED, None, 0, 0.0, "does not fit"),
)


def result(trials=TRIALS, importances=None) -> Result:
    return Result(Start.read(Path("synthetic"), {}), SPACE, trials, "rmse", importances or {})


def blocks(page: Page, section: str, kind: type) -> list:
    (found,) = [each for each in page.sections if each.id == section]
    return [block for block in found.blocks if isinstance(block, kind)]


@pytest.fixture(scope="module")
def page() -> Page:
    return page_of(result(importances={RATE: 0.25, "embeddings.dim": 0.75}), {"rmse": 0.93})


def tips(chart: Chart) -> list[str]:
    return re.findall(r'data-tip="([^"]*)"', chart.svg)


def test_the_result_stands_beside_the_experiment_and_the_test_split(page):
    (tiles,) = blocks(page, "result", Tiles)
    assert [(tile.label, tile.value) for tile in tiles.tiles] == [
        ("eval rmse, as it is", "0.9500"),
        ("eval rmse, best", "0.9100"),
        ("test rmse, best", "0.9300"),
        ("tries", "5"),
        ("seconds of all trials", "7.5"),
    ]
    assert tiles.tiles[3].note == "3 finished, 1 pruned, 1 diverged, 1 refused"
    (changed,) = blocks(page, "result", Table)
    assert changed.rows == ((RATE, "0.002", "0.02"), ("embeddings.dim", "32", "16"))
    (experiment,) = blocks(page, "result", Code)
    assert "dim: 16" in experiment.text


def test_the_best_so_far_never_rises(page):
    best, _ = blocks(page, "progress", Chart)
    assert list(dict.fromkeys(tips(best))) == [
        f"trial: {trial}; eval rmse: {value}" for trial, value in enumerate([0.95, 0.95, 0.95, 0.95, 0.91, 0.91])
    ]


def test_every_judged_trial_is_a_point_with_its_values(page):
    _, every = blocks(page, "progress", Chart)
    assert f"trial 2, pruned: rmse 0.9900; {RATE} 0.09, embeddings.dim 8" in tips(every)
    assert "trial 0, finished: rmse 0.9500; as it is" in tips(every)
    of_rate, of_dim = blocks(page, "parameters", Chart)
    assert (of_rate.title, of_dim.title) == (RATE, "embeddings.dim")
    # The experiment's own values are points, too; trials without an evaluation are none.
    assert all(
        sum("rmse" in tip and tip.startswith("trial ") for tip in tips(chart)) == 4 for chart in (of_rate, of_dim)
    )


def test_importances_are_bars_the_longest_first(page):
    (bars,) = blocks(page, "parameters", Bars)
    assert [(bar.label, bar.text) for bar in bars.bars] == [("embeddings.dim", "75%"), (RATE, "25%")]


def test_all_trials_are_listed_the_best_first_with_reasons(page):
    listed, reasons = blocks(page, "trials", Table)
    assert [row[0] for row in listed.rows] == [4, 0, 1, 2, 3, 5]
    assert listed.rows[1] == (0, 0.95, "finished (as it is)", 4, 2.0, "0.002", "32")
    assert listed.rows[4][1] is None
    assert reasons.rows[1] == ("3", "diverged", "the loss is <not> finite")


def test_few_trials_have_no_importances_and_an_untested_best_says_so():
    page = page_of(result(), None)
    assert "need 10 trials that finished" in blocks(page, "parameters", Text)[0].text
    assert "The test split was not read." in blocks(page, "result", Text)[0].text


def test_a_search_in_which_nothing_finished_has_a_page():
    page = page_of(result(trials=TRIALS[3:4]), None)
    assert [section.id for section in page.sections] == ["result", "trials"]
    (tiles,) = blocks(page, "result", Tiles)
    assert tiles.tiles[1].value == "none" and tiles.tiles[1].note == "no trial finished"


@needs_chromium
def test_the_page_is_whole_and_fit_for_all_readers(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(page), encoding="utf-8")
    with browser_tab() as tab:
        tab.open(path)
        sections = tab.evaluate("[...document.querySelectorAll('section')].map((each) => each.id)")
        assert sections == ["result", "progress", "parameters", "trials"]
        assert tab.evaluate("[...document.querySelectorAll('figure svg')].length") == 4
        for theme in ("light", "dark"):
            tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            assert tab.violations() == []
        assert not tab.errors
        assert all(url.startswith(("file:", "data:")) for url in tab.requests)
