"""The page: its data, its HTML, and what it does in a browser."""

import re

import pytest

from components.run_report import charts
from components.run_report.page import (
    Bar,
    Bars,
    Code,
    Column,
    Facts,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)
from components.run_report.render import render, shown
from tests.browser import browser_tab, needs_chromium

NUMBER = Column(name="loss", digits=2)
TABLE = Table(
    title="by slice",
    columns=(Column(name="slice"), NUMBER),
    rows=(("overall", 0.5), ("b", 0.25), ("a", None), ("c", 10.0), ("d", 9.0)),
    pinned=1,
    sorted_by=1,
)


@pytest.fixture(scope="module")
def page() -> Page:
    drawn = charts.lines("curve", {"model": ([1, 2, 3], [3, 1, 2]), "baseline": ([1, 3], [2, 2])}, "step", "loss")
    blocks = (
        Tiles(tiles=(Tile(label="verdict", value="pushed", note="because", tone="good"),)),
        Text(text="<b>no markup</b>", tone="warn"),
        Facts(facts=(("rows", "12"),)),
        TABLE,
        Bars(
            title="seconds",
            bars=(Bar(label="Trainer", value=2.0, text="2 s"), Bar(label="Pusher", value=0, text="0 s")),
        ),
        drawn,
        Code(title="experiment", text="name: x"),
    )
    second = Section(id="second", title="Second", blocks=(Text(text="last"),))
    return Page(
        title="a run", subtitle="of a test", sections=(Section(id="first", title="First", blocks=blocks), second)
    )


def test_a_page_survives_its_journey_as_json(page):
    assert Page.model_validate_json(page.model_dump_json()) == page


@pytest.mark.parametrize(("before", "ids"), [("second", ["first", "x", "second"]), ("none", ["first", "second", "x"])])
def test_a_section_is_put_before_another_or_last(page, before, ids):
    found = page.with_section(Section(id="x", title="X", blocks=()), before)
    assert [section.id for section in found.sections] == ids


def test_the_html_needs_no_network_and_escapes_texts(page):
    html = render(page)
    assert not re.search(r"(src|href)=[\"'](?!#|data:)", html)
    assert "@import" not in html and "url(" not in html
    assert "&lt;b&gt;no markup&lt;/b&gt;" in html and "<b>no markup" not in html


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (None, NUMBER, "–"),  # noqa: RUF001
        ("x", NUMBER, "x"),
        (1234.567, NUMBER, "1,234.57"),
        (3.0, Column(name="rows", digits=0), "3"),
        (0.256, Column(name="share", digits=1, percent=True), "25.6%"),
    ],
)
def test_cells_are_shown_as_people_read_them(value, column, text):
    assert shown(value, column) == text


def test_colours_of_charts_are_the_pages_variables(page):
    (chart,) = [block for block in page.sections[0].blocks if block.kind == "chart"]
    assert "var(--series-1)" in chart.svg and "var(--series-2)" in chart.svg and "var(--muted)" in chart.svg
    assert not re.search(r"#0[0-9a]0[0-9a]0[0-9]\b", chart.svg)
    assert "role=" not in chart.svg and "aria-" not in chart.svg
    assert 'data-tip="step: 1; loss: 3; series: model"' in chart.svg


def test_long_lines_are_thinned_out_but_keep_their_ends():
    values = list(range(1000))
    svg = charts.lines("long", {"x": (values, values)}, "step", "value").svg
    tips = re.findall(r'data-tip="step: (\d+)', svg)
    assert len(tips) < 200
    assert {"0", "999"} <= set(tips)


def test_what_is_not_finite_is_not_drawn():
    svg = charts.lines("gap", {"x": ([1, 2, 3], [1, float("nan"), 3])}, "step", "value").svg
    assert "step: 1" in svg and "step: 2" not in svg


@pytest.fixture(scope="module")
def tab(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(render(page), encoding="utf-8")
    with browser_tab() as tab:
        tab.open(path)
        yield tab


FIRST_COLUMN = "[...document.querySelectorAll('table[data-pinned] tbody tr')].map((row) => row.cells[0].textContent)"


@needs_chromium
class TestInABrowser:
    def test_everything_is_there_and_nothing_went_wrong(self, tab):
        assert tab.evaluate("[...document.querySelectorAll('section')].map((each) => each.id)") == ["first", "second"]
        assert tab.evaluate("document.querySelector('figure svg').getBoundingClientRect().width") > 200
        assert not tab.errors
        assert all(url.startswith(("file:", "data:")) for url in tab.requests)

    def test_columns_are_sorted_by_number_with_what_is_unknown_last(self, tab):
        click = "document.querySelectorAll('table[data-pinned] thead button')[{}].click()"
        tab.evaluate(click.format(1))  # it was said to be in ascending order
        assert tab.evaluate(FIRST_COLUMN) == ["overall", "c", "d", "b", "a"]
        tab.evaluate(click.format(1))
        assert tab.evaluate(FIRST_COLUMN) == ["overall", "b", "d", "c", "a"]
        tab.evaluate(click.format(0))
        assert tab.evaluate(FIRST_COLUMN) == ["overall", "a", "b", "c", "d"]
        assert tab.evaluate("document.querySelectorAll('[aria-sort]').length") == 1

    def test_both_themes_colour_page_and_charts(self, tab):
        colours = """(() => [getComputedStyle(document.body).backgroundColor,
            getComputedStyle(document.querySelector('figure svg path[stroke="var(--series-1)"]')).stroke])()"""
        before = tab.evaluate(colours)
        tab.evaluate("document.getElementById('theme').click()")
        after = tab.evaluate(colours)
        assert all(one != other for one, other in zip(before, after, strict=True))
        assert all(colour.startswith("rgb(") for colour in (*before, *after))
        tab.evaluate("document.getElementById('theme').click()")
        assert tab.evaluate(colours) == before

    def test_marks_show_their_values_under_the_pointer(self, tab):
        tab.evaluate(
            """document.querySelector('figure [data-tip]').dispatchEvent(
            new PointerEvent('pointermove', {bubbles: true, clientX: 50, clientY: 50}))"""
        )
        assert tab.evaluate("document.getElementById('tip').hidden") is False
        assert "loss" in tab.evaluate("document.getElementById('tip').textContent")

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_axe_finds_nothing_wrong(self, tab, theme):
        tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        assert tab.violations() == []

    def test_it_prints(self, tab):
        assert len(tab.call("Page.printToPDF")["data"]) > 10_000
