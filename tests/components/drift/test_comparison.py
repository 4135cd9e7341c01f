"""Which earlier data new data are compared with, and what thresholds follow from history."""

import pyarrow as pa
import pytest

from components.drift.comparison import compare_with_earlier
from components.drift.config import DriftConfig
from components.drift.findings import as_table
from components.drift.history import SPANS_KEPT, Entry, before, with_entry
from components.drift.profile import Profile, profile_of, save
from components.drift.report import DriftReport
from components.drift.thresholds import FIRST, MARGINS, threshold

KINDS = {"country": "tokens", "clicked": "label"}


def profile(us: int, de: int, clicks: int) -> Profile:
    countries = [[b"us"]] * us + [[b"de"]] * de
    clicked = [[1.0]] * clicks + [[0.0]] * (us + de - clicks)
    batch = pa.record_batch(
        {
            "country": pa.array(countries, pa.large_list(pa.large_binary())),
            "clicked": pa.array(clicked, pa.large_list(pa.float32())),
        }
    )
    return profile_of([batch], KINDS)


class Days:
    """One span after the other."""

    def __init__(self, directory):
        self.directory = directory
        self.entries = ()

    def entry(self, span: int | None, new: Profile, examples: str = "") -> Entry:
        examples = examples or f"examples/{span}"
        uri = str(self.directory / examples)
        save(new, uri)
        return Entry(
            name=f"span {span}", span=span, window=f"1-{span}", examples=examples, newest=uri, whole=uri, rows=new.rows
        )

    def arrives(self, span: int, new: Profile, model: str | None = None, accept=True, **config) -> DriftReport:
        settings = DriftConfig.model_validate(config)
        report = compare_with_earlier(self.entry(span, new), new, self.entries, model, KINDS, settings)
        if accept:
            self.entries = report.entries
        return report


@pytest.fixture
def days(tmp_path) -> Days:
    return Days(tmp_path)


def test_the_first_span_is_compared_with_nothing(days):
    report = days.arrives(1, profile(50, 50, 20))
    assert not report.measured and not report.compared_with
    assert "no earlier data" in report.notes[0]


def test_a_day_of_one_row_is_no_drift_and_neither_is_the_day_after_it(days):
    for span in (1, 2, 3):
        days.arrives(span, profile(500, 500, 200))
    tiny = days.arrives(4, profile(1, 0, 1), action="stop")
    assert not tiny.drift
    assert "span 4 (rows: 1)" in tiny.notes[0] and "only large differences" in tiny.notes[0]
    assert not days.arrives(5, profile(500, 500, 200), action="stop").drift


def test_a_day_of_half_the_rows_is_still_held_to_history(days):
    for span in (1, 2, 3):
        days.arrives(span, profile(500, 500, 200))
    report = days.arrives(4, profile(500, 0, 100), action="stop")
    assert {each.measure for each in report.drift} == {"l_infinity", "jensen_shannon"}
    assert all(each.may_stop and "for what chance may do in so few rows" in each.origin for each in report.drift)
    assert not report.notes


def test_without_a_history_drift_only_warns(days):
    days.arrives(1, profile(500, 500, 200))
    report = days.arrives(2, profile(1000, 0, 200))
    assert {each.measure for each in report.drift} == {"l_infinity", "jensen_shannon"}
    assert not any(each.may_stop for each in report.drift)
    assert "3 earlier spans are needed, there is 1" in report.drift[0].origin


def test_from_three_spans_on_history_sets_the_threshold(days):
    for span, us in ((1, 500), (2, 510), (3, 490)):
        assert not days.arrives(span, profile(us, 1000 - us, 200)).drift
    report = days.arrives(4, profile(700, 300, 500))
    worst = {(each.column, each.measure): each for each in report.drift}
    country = worst["country", "l_infinity"]
    # The earlier values are 0.01 and 0.02.
    assert country.threshold == pytest.approx(0.015 + MARGINS["l_infinity"])
    assert country.value == pytest.approx(0.21) and country.may_stop
    assert country.origin == "history of 3 spans: median 0.015, margin 0.050"
    assert country.against == "span 3, the previous one"
    assert country.change == "'us': 49.0% of the rows, now 70.0%"
    assert worst["clicked", "label_shift"].value == pytest.approx(0.75)
    table = as_table(report.drift)
    assert "country" in table and "0.210" in table and "label_shift: check how labels are recorded" in table


def test_a_threshold_of_the_experiment_needs_no_history(days):
    days.arrives(1, profile(500, 500, 200))
    columns = {"country": {"l_infinity": 0.02}}
    (found,) = days.arrives(2, profile(530, 470, 200), columns=columns).drift
    assert found.may_stop and found.threshold == 0.02
    assert found.origin == "validation.drift.columns.country.l_infinity"


def test_the_blessed_models_data_are_another_reference(days):
    for span in (1, 2, 3):
        days.arrives(span, profile(500, 500, 200), model="examples/1")
    report = days.arrives(4, profile(500, 500, 200), model="examples/2")
    assert report.compared_with == ("span 3, the previous one", "spans 1-2, the blessed model's")
    report = days.arrives(5, profile(500, 500, 200), model="examples/4")
    assert report.compared_with == ("span 4, the previous one and the blessed model's",)
    assert report.entries[-1].values["model"] == report.entries[-1].values["previous"]


def test_a_refused_span_is_no_reference(days):
    for span in (1, 2, 3):
        days.arrives(span, profile(500, 500, 200))
    assert days.arrives(4, profile(1000, 0, 200), accept=False, action="stop").drift
    report = days.arrives(5, profile(500, 500, 200), action="stop")
    assert report.compared_with == ("span 3, the previous one",) and not report.drift


def test_a_rerun_takes_the_place_of_its_span(days):
    for span in (1, 2, 3):
        days.arrives(span, profile(500, 500, 200))
    report = days.arrives(2, profile(500, 500, 200))
    assert report.compared_with == ("span 1, the previous one",)
    assert [entry.span for entry in report.entries] == [1, 2, 3]


def test_earlier_data_that_are_gone_are_named(days, tmp_path):
    days.arrives(1, profile(500, 500, 200))
    (tmp_path / "examples" / "1" / "profile.json").unlink()
    report = days.arrives(2, profile(500, 500, 200))
    assert not report.measured and "is gone" in report.notes[0]


def test_drawings_show_the_columns_that_changed_most(days):
    days.arrives(1, profile(500, 500, 200))
    drawing, *_ = days.arrives(2, profile(1000, 0, 200)).drawings
    shares = {value: pair for value, *pair in zip(drawing.values, drawing.earlier, drawing.newer, strict=True)}
    assert (drawing.column, shares) == ("country", {"us": [0.5, 1.0], "de": [0.5, 0.0]})


def test_without_spans_the_last_other_delivery_is_the_previous_one(days):
    first, second = (days.entry(None, profile(1, 1, 1), name) for name in ("a", "b"))
    entries = with_entry(with_entry((), first), second)
    assert [entry.examples for entry in before(entries, days.entry(None, profile(1, 1, 1), "c"))] == ["a", "b"]
    assert [entry.examples for entry in before(entries, second)] == ["a"]


def test_history_does_not_grow_without_end(days):
    entries = ()
    for span in range(SPANS_KEPT + 5):
        entries = with_entry(
            entries, days.entry(span, profile(1, 1, 1), "same").model_copy(update={"examples": str(span)})
        )
    assert len(entries) == SPANS_KEPT and entries[-1].span == SPANS_KEPT + 4


def test_a_column_that_changes_every_day_may_change_half_as_much_again():
    assert threshold("item", "jensen_shannon", None, [0.2, 0.2, 0.2], 0).value == pytest.approx(0.3)


def test_one_wild_day_does_not_loosen_the_threshold():
    calm = [0.01, 0.02, 0.01, 0.02, 0.01, 0.9]
    assert threshold("c", "l_infinity", None, calm, 0).value < 0.1
    assert threshold("c", "l_infinity", None, [], 0.01).value == pytest.approx(FIRST["l_infinity"] + 0.01)
