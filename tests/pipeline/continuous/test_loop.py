"""The loop on files that arrive, with a pipeline that only writes down what it was asked for."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.example_gen.config import DataConfig
from pipeline.config import Locations
from pipeline.continuous import span_process
from pipeline.continuous.arrivals import Arrival, check_watchable, find_arrivals
from pipeline.continuous.journal import Day, Journal
from pipeline.continuous.loop import Order, run_continuously
from pipeline.continuous.printing import print_days
from pipeline.continuous.span_process import SpanRunner, Stop, day_of
from pipeline.history.records import Execution, Run
from trainer_module.errors import ConfigError, RecspanError


class Files:
    """A directory of days, and the loop on it."""

    def __init__(self, directory: Path):
        self.directory, self.calls, self.said, self.accepted = directory, [], [], []
        interactions = {"files": str(directory / "day-{SPAN}.csv"), "label": "clicked", "categorical": ["user"]}
        self.data = DataConfig.model_validate({"interactions": interactions, "task": "click", "window": 3})
        self.verdicts: dict[int, str] = {}
        self.arriving: list[int] = []

    def write(self, *days: int, text: str = "user,clicked\n") -> None:
        for day in days:
            (self.directory / f"day-{day}.csv").write_text(text)

    def find(self):
        return find_arrivals(self.data.portable(), str(self.directory))

    def run(self, arrival: Arrival, left_out: tuple[str, ...], is_accepted: bool) -> Day | None:
        self.calls.append((arrival.span, left_out))
        self.accepted += [arrival.span] if is_accepted else []
        if self.verdicts.get(arrival.span) == "stopped":
            return None
        verdict = self.verdicts.get(arrival.span, "pushed")
        return Day(
            span=arrival.span,
            name=arrival.name,
            digest=arrival.digest,
            verdict=verdict,
            reason="",
            run="1",  # type: ignore[arg-type]
        )

    # What the loop reports to.
    def waiting(self, after):
        self.said.append(f"waiting after {after}")

    def begins(self, arrival, left_out):
        self.said.append(f"begins {arrival.name}")

    def ended(self, day):
        self.said.append(f"ended {day.name}")

    def noticed(self, day):
        self.said.append(f"noticed {day.name}: {day.verdict}")

    # How the loop waits: another day arrives, or it is asked to stop.
    def wait(self, seconds):
        if not self.arriving:
            return True
        self.write(self.arriving.pop(0))
        return False

    @property
    def journal(self) -> Journal:
        return Journal(Locations(str(self.directory), self.directory / "runs"), "shop")

    def loop(self, first=None, poll=0.0, until_idle=True, accepted=()) -> bool:
        self.calls, self.said, self.accepted = [], [], []
        order = Order(first, frozenset(accepted), poll, until_idle)
        return run_continuously(self.find, self.journal, self.run, self, self, order)


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


def test_the_newest_day_is_the_first_one(files):
    files.write(1, 2, 10)
    assert files.loop()
    assert files.calls == [(10, ())]


def test_days_follow_one_another_from_the_one_that_is_named(files):
    files.write(1, 2, 3, 10)
    assert files.loop(first=2)
    assert [span for span, _ in files.calls] == [2, 3, 10]
    assert files.loop(first=2)
    assert not files.calls


def test_days_that_arrive_are_waited_for(files):
    files.write(1)
    files.arriving = [2, 3]
    assert not files.loop(until_idle=False)
    assert [span for span, _ in files.calls] == [1, 2, 3]
    assert [line for line in files.said if line.startswith("waiting")] == [f"waiting after {day}" for day in (1, 2, 3)]


def test_a_refused_day_is_survived_and_left_out_of_later_windows(files):
    files.write(1, 2, 3, 4)
    files.verdicts = {2: "refused", 3: "not pushed"}
    assert files.loop(first=1)
    assert files.calls == [(1, ()), (2, ()), (3, ("2",)), (4, ("2",))]


def test_a_refused_day_that_was_mended_is_read_again(files):
    files.write(1, 2)
    files.verdicts = {2: "refused"}
    files.loop(first=1)
    files.write(2, text="user,clicked\nu1,1\n")
    files.verdicts = {}
    files.loop()
    assert files.calls == [(2, ())]
    files.write(3)
    files.loop()
    assert files.calls == [(3, ())]


def test_a_refused_day_that_is_mended_later_joins_the_next_window(files):
    files.write(1, 2, 3)
    files.verdicts = {2: "refused"}
    files.loop(first=1)
    files.write(2, text="user,clicked\nu1,1\n")
    files.write(4)
    files.loop()
    assert files.calls == [(4, ())]


def test_a_loop_that_was_stopped_goes_on_with_the_same_day(files):
    files.write(1, 2, 3)
    files.verdicts = {2: "stopped"}
    assert not files.loop(first=1)
    files.verdicts = {}
    assert files.loop()
    assert [span for span, _ in files.calls] == [2, 3]


def test_files_that_are_still_written_are_waited_for(files):
    files.write(1)
    os.utime(files.directory / "day-1.csv", (time.time() - 100,) * 2)
    assert not files.loop(poll=1000, until_idle=False)
    assert not files.calls
    assert files.loop(poll=50)
    assert files.calls == [(1, ())]


def test_empty_and_hidden_files_are_no_arrivals(files):
    files.write(1)
    files.write(2, text="")
    (files.directory / ".day-3.csv").write_text("x")
    assert list(files.find()) == [1]


def test_a_day_that_arrives_late_is_said_once_and_has_no_run(files):
    files.write(1, 3)
    files.loop(first=1)
    files.write(2)
    assert files.loop()
    assert not files.calls
    assert files.said == ["noticed 2: late"]
    files.write(4)
    files.loop()
    assert files.calls == [(4, ())] and "noticed 2: late" not in files.said
    assert [day.verdict for day in files.journal.days] == ["pushed", "late", "pushed", "pushed"]


def test_days_before_the_first_one_are_not_late(files):
    files.write(1, 2, 3)
    files.loop()
    assert files.calls == [(3, ())]
    files.write(4)
    files.loop()
    assert not [line for line in files.said if "noticed" in line]


def test_a_journal_of_an_earlier_version_takes_what_is_there_as_seen(files):
    files.write(1, 2, 3)
    files.loop()
    (files.directory / "runs" / "continuous" / "shop.seen.json").unlink()
    files.loop()
    assert not files.said
    files.write(0)
    files.loop()
    assert files.said == ["noticed 0: late"]


def test_files_of_an_earlier_day_that_change_are_said_once(files):
    files.write(1, 2)
    files.loop(first=1)
    files.write(1, text="user,clicked\nu1,1\n")
    files.loop()
    assert (files.calls, files.said) == ([], ["noticed 1: pushed"])
    files.loop()
    assert not files.said


def test_an_accepted_day_is_run_on_again_and_so_are_later_refused_ones(files):
    files.write(1, 2, 3, 4)
    files.verdicts = {2: "refused", 4: "refused"}
    files.loop(first=1)
    files.verdicts = {}
    assert files.loop(accepted=[2])
    # Day 4 is not left out on its own run, and day 2 from none.
    assert files.calls == [(2, ()), (4, ())]
    assert files.accepted == [2]
    # The same command once more has nothing left to do.
    files.loop(accepted=[2])
    assert not files.calls
    files.write(5)
    files.loop(accepted=[2])
    assert files.calls == [(5, ())] and not files.accepted


def test_the_last_day_is_run_on_again_after_an_earlier_one_was_accepted(files):
    files.write(1, 2, 3, 4)
    files.verdicts = {2: "refused"}
    files.loop(first=1)
    files.verdicts = {}
    assert files.loop(accepted=[2])
    # Else the model of day 2 would be served, which knows nothing of the days since.
    assert files.calls == [(2, ()), (4, ())]
    # It had passed the gate, and differs from day 2 alone.
    assert files.accepted == [2, 4]
    files.loop(accepted=[2])
    assert not files.calls
    files.loop(accepted=[4])
    assert not files.calls


def test_an_acceptance_that_was_stopped_goes_on(files):
    files.write(1, 2, 3, 4)
    files.verdicts = {2: "refused", 3: "refused", 4: "refused"}
    files.loop(first=1)
    files.verdicts = {3: "refused", 4: "stopped"}
    assert not files.loop(accepted=[2])
    assert [span for span, _ in files.calls] == [2, 3, 4]
    files.verdicts = {}
    assert files.loop(accepted=[2])
    # Day 3 was looked at after the acceptance, and is refused for good; day 4 was not.
    assert files.calls == [(4, ("3",))]


def test_a_list_of_seen_days_that_is_damaged_is_named(files):
    files.write(1)
    files.loop()
    (files.directory / "runs" / "continuous" / "shop.seen.json").write_text("[1, x")
    with pytest.raises(ConfigError, match=r"shop\.seen\.json: not a list of the numbers of spans"):
        files.loop()


def test_a_damaged_journal_names_the_line(files):
    files.write(1)
    files.loop()
    with (files.directory / "runs" / "continuous" / "shop.jsonl").open("a") as file:
        file.write('{"span": 2, "na')
    with pytest.raises(ConfigError, match=r"shop\.jsonl, line 2: .* Remove the line"):
        files.loop()


@pytest.mark.parametrize(
    ("change", "directory", "message"),
    [
        ({"last_span": 3}, "/data", "data.last_span fixes the end"),
        ({}, "gs://bucket/data", "lies on another machine"),
    ],
)
def test_what_cannot_be_watched_is_refused(files, change, directory, message):
    with pytest.raises(ConfigError, match=message):
        check_watchable(files.data.model_copy(update=change), directory)


def test_files_without_spans_are_refused():
    with pytest.raises(ConfigError, match="no file pattern has a marker of spans"):
        check_watchable(DataConfig(dataset="synthetic"), "/data")


ARRIVAL = Arrival(4, "2024-05-04", "digest", 0.0)


def test_what_became_of_a_day_is_read_from_its_run(tmp_path):
    def stopped(**facts) -> Day:
        return day_of(ARRIVAL, Run("20240504", tmp_path, None, "shop", (), {"verdict": "stopped by drift"} | facts))

    refused = stopped(refused_data=True, drift={"findings": [1, 2]})
    assert (refused.verdict, refused.drift) == ("refused", 2)
    assert refused.reason == f"stopped by drift, see {tmp_path / 'log.txt'}"
    # A full disk says nothing about the data.
    assert stopped(verdict="failed in ExampleGen", refused_data=False).verdict == "failed"
    killed = (Execution("ExampleGen", "failed", 1.0, {}),)
    assert day_of(ARRIVAL, Run("20240504", tmp_path, None, "shop", killed)).verdict == "failed"
    summary = {
        "blessing": {"push": True, "reason": "all thresholds hold"},
        "training": {"warm_start": [{"new": 20}, {"new": 3}], "table_rows": {"user": 100, "item": 50}},
        "evaluation": {"slices": [{"slice": "overall", "auc": 0.7, "example_count": 10.0}]},
        "drift": {"findings": []},
    }
    day = day_of(ARRIVAL, Run("20240504", tmp_path, summary))
    assert (day.verdict, day.metrics, day.new_tokens, day.table_rows, day.drift) == ("pushed", {"auc": 0.7}, 23, 150, 0)


def test_days_are_shown_in_a_table(capsys):
    from rich.console import Console

    shown = Day(span=1, name="1", digest="", verdict="pushed", reason="good", run="1", metrics={"auc": 0.71}, drift=2)
    refused = Day(span=2, name="2", digest="", verdict="refused", reason="failed in DriftGate", run="2")
    print_days([shown, refused], Console(width=120))
    lines = capsys.readouterr().out.splitlines()
    assert "0.7100" in lines[1] and "pushed" in lines[1] and "failed in DriftGate" in lines[2]


# Stands for `recspan`: writes down its arguments, and makes the directory of a run.
PIPELINE = """
import json, os, pathlib, sys
root = pathlib.Path(sys.argv[sys.argv.index("--root") + 1])
(root / "runs" / os.environ.get("RUN", "20240504T1")).mkdir(parents=True)
(root / "arguments.json").write_text(json.dumps(sys.argv[1:]))
sys.exit(int(os.environ.get("CODE", "0")))
"""


def test_a_day_is_run_on_by_a_process_of_its_own(files, monkeypatch):
    monkeypatch.setattr(span_process, "COMMAND", (sys.executable, "-c", PIPELINE))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    root = files.directory / "runs"
    data = files.data.model_copy(update={"leave_out": (1,)})
    try:
        runner = SpanRunner(["--root", str(root)], {"training.epochs": 2}, data, root, Stop())
        day = runner(Arrival(4, "4", "digest", 0.0), ("2",), True)
        with pytest.raises(RecspanError, match="could not begin"):
            monkeypatch.setattr(span_process, "COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
            runner(Arrival(5, "5", "digest", 0.0), (), False)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert day is not None and (day.verdict, day.run) == ("failed", "20240504T1")
    arguments = json.loads((root / "arguments.json").read_text())
    assert arguments[:4] == ["pipeline", "run", "--root", str(root)]
    assert arguments[4:] == [
        *("--set", "training.epochs=2"),
        *("--set", "data.last_span=4"),
        *("--set", 'validation.drift.action="warn"'),
        *("--set", "data.leave_out=[1, 2]"),
    ]


LOOP = r'''
import sys
from pipeline.continuous.span_process import Stop
stop = Stop()
child = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"state saved\\n"), sys.exit(75)))
os.write(1, b"training\\n")
time.sleep(60)
"""
print("ready", flush=True)
stop.call([sys.executable, "-c", child], {})
sys.exit(stop.exit_code)
'''


def test_sigterm_reaches_the_pipeline_which_saves_its_state():
    process = subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert [process.stdout.readline().strip() for _ in range(2)] == ["ready", "training"]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert output.strip() == "state saved"
    assert process.returncode == 75
