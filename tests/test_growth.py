"""What `benchmarks.growth` concludes from its measurements, and that its plot is an SVG."""

import xml.etree.ElementTree as ElementTree

from benchmarks.growth import Measured, _table, _verdict, render_plot

FEW = Measured(
    1000,
    {"ExampleGen": 6.0, "Trainer": 10.0, "Pusher": 1.0},
    dict.fromkeys(("ExampleGen", "Trainer", "Pusher"), 1.0),
    "in memory",
    0.001,
)
MANY = Measured(
    4000,
    {"ExampleGen": 25.0, "Trainer": 39.0, "Pusher": 9.0},
    {"ExampleGen": 1.1, "Trainer": 1.5, "Pusher": 1.2},
    "in files",
    0.004,
)


def test_the_verdict_names_what_grows_too_fast():
    (text,) = _verdict("ratings", [FEW, MANY])
    assert "From 1,000 to 4,000 ratings, 4 times as many, the whole takes 4.3 times as long" in text
    # The Pusher's second says nothing of how it grows.
    assert "more than 4 times as long: ExampleGen (4.2 times)." in text
    assert "more than 20%: Trainer (+50%)." in text
    assert _verdict("ratings", [FEW]) == []


def test_the_table_has_two_columns_for_each_size():
    lines = _table([FEW, MANY])
    assert "| ExampleGen | 6.0 | 1.00 | 25.0 | 1.10 |" in lines
    assert lines[-3].startswith("| **sum, largest peak** | **17.0** | **1.00** | **73.0** | **1.50** |")
    assert lines[-1] == "| vocabularies' files, GB |  | 0.001 |  | 0.004 |"


def test_the_plot_is_well_formed_and_has_a_point_for_each_run():
    plot = ElementTree.fromstring(render_plot({"ratings": [FEW, MANY], "clicks": [FEW]}))
    points = [mark for mark in plot.iter() if mark.get("aria-roledescription") == "point"]
    assert len(points) == 2 * 3
