"""Peak memory by component, and the budget of a run."""

import io
import json
import subprocess
import time

import numpy as np
import pytest
from rich.console import Console

from pipeline import report
from pipeline.config import load_config
from pipeline.local.peak_memory import PeakMemory, release_memory
from tests.launcher import recspan
from trainer_module.errors import ConfigError

MEGABYTE = 10**6


def test_a_peak_is_seen_after_it_is_over_but_not_by_one_that_looks_later():
    with PeakMemory() as peak:
        before = peak.bytes()
        array = np.ones(100 * MEGABYTE, np.int8)
        time.sleep(0.2)
        del array
        assert peak.bytes() >= before + 90 * MEGABYTE
    with PeakMemory() as later:
        assert later.bytes() < before + 50 * MEGABYTE


def test_freed_memory_is_given_back():
    # Below the size from which the C library takes and returns each array by itself.
    arrays = [np.ones(64 * 1024, np.int8) for _ in range(3000)]
    last = arrays[-1]
    with PeakMemory() as before:
        full = before.bytes()
    arrays.clear()
    release_memory()
    with PeakMemory() as after:
        assert after.bytes() < full - 150 * MEGABYTE
    assert last.all()


def test_the_report_shows_it_where_it_was_measured(monkeypatch):
    rows = [
        {"component": "Trainer", "seconds": 1.0, "cached": False, "peak_memory_gb": 1.234},
        {"component": "Pusher", "seconds": 1.0, "cached": False},
    ]
    console = Console(file=io.StringIO(), width=100)
    console.print(report._components(rows))
    lines = console.file.getvalue().splitlines()
    assert "peak GB" in lines[2]
    assert [("1.23" in line) for line in lines if "Trainer" in line or "Pusher" in line] == [True, False]


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), "much"])
def test_a_budget_that_nothing_fits_into_is_refused_when_the_experiment_is_read(value):
    with pytest.raises(ConfigError, match=r"^memory_gb: expected"):
        load_config(overrides={"memory_gb": value})


def test_the_budget_is_no_part_of_what_components_are_told():
    assert load_config(overrides={"memory_gb": 16}).without_local_paths() == load_config().without_local_paths()


@pytest.mark.parametrize(
    ("given", "message"),
    [("0", "memory_gb: expected a number of at least 2.5, got 0"), ("1e6", "memory_gb: 1e+06 GB is more than the ")],
)
def test_a_run_with_a_budget_of_nonsense_ends_with_one_message(tmp_path, given, message):
    process: subprocess.CompletedProcess = recspan("pipeline", "run", "--memory-gb", given, cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {message}")
    assert not list(tmp_path.rglob("*.json")), json.dumps([str(path) for path in tmp_path.rglob("*")])
