"""The process that draws charts: one for all of them, replaced if it ended, gone with whoever started it."""

import os
import signal
import subprocess
import sys
import time

import pytest
import vl_convert

from components.run_report import vega

CHART = {"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x", "type": "quantitative"}}}


def test_charts_are_those_that_the_library_draws():
    assert vega.to_svg(CHART) == vl_convert.vegalite_to_svg(CHART)


def test_one_process_draws_all_charts():
    vega.prepare()
    (started,) = vega._processes
    vega.to_svg(CHART)
    vega.to_svg(CHART)
    assert vega._processes == [started]


def test_a_wrong_specification_is_an_error_and_the_next_chart_is_drawn():
    with pytest.raises(ValueError, match="conversion failed"):
        vega.to_svg({"mark": "no such mark"})
    assert vega.to_svg(CHART).startswith("<svg")


def test_a_process_that_was_killed_is_replaced():
    vega.prepare()
    (killed,) = vega._processes
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert vega.to_svg(CHART).startswith("<svg")
    assert vega._processes != [killed]


def test_it_ends_with_the_process_that_started_it():
    code = "from components.run_report import vega; vega.prepare(); print(vega._processes[0].pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while _exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
