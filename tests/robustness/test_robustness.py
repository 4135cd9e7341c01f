"""Every malformed input ends in one clear message, or is read right; no exception of another kind, and in bounded time.

`python -m tests.robustness` prints the figures, for other seeds too.
"""

import time

import pytest

from tests.robustness import data_files, experiments
from tests.robustness.cases import AnyOf, BadRow, DataCase, Read, Refused
from tests.robustness.running import MOST_SECONDS, run_all, run_experiment_case

_SEED = 1


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    """Tracebacks of commands go there, if there are any."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.parametrize("make_cases", [data_files.make_cases, experiments.make_cases])
def test_every_malformed_input_ends_in_a_clear_message_or_is_read_right(make_cases, tmp_path, logs):
    cases = make_cases(_SEED)
    wrong = [f"{failure.case.kind}: {failure.problem}" for failure in run_all(cases, tmp_path)]
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 200


def test_what_the_generators_change_is_right_without_the_change(tmp_path):
    assert run_experiment_case(experiments.ExperimentCase("none", experiments.base(), None), tmp_path) is None


def test_a_seed_makes_the_same_inputs_and_another_seed_others():
    assert data_files.make_cases(1) == data_files.make_cases(1) != data_files.make_cases(2)
    assert experiments.make_cases(1) == experiments.make_cases(1) != experiments.make_cases(2)


_GOOD = b"user,item,clicked,price\nu1,i1,1,2\nu2,i1,0,2\n"
_BAD = b"user,item,clicked,price\nu1,i1,1,x\nu2,i1,0,2\n"


@pytest.mark.parametrize(
    ("content", "expected", "problem"),
    [
        (_GOOD, Refused(("a.csv",)), "read: 2 rows"),
        (_GOOD, BadRow(2, (), 1), "bad rows are []; expected line 2"),
        (_GOOD, Read(3), "2 rows were read, expected 3"),
        (_GOOD, Read(2, ("u1", "u1")), "users are"),
        (_BAD, Read(2), "bad rows: "),
        (_BAD, BadRow(3, (), 1), "expected line 3"),
        (_BAD, BadRow(2, ("'item'",), 1), "does not name \"'item'\""),
        (b"", Refused(("b.csv",)), "does not name 'b.csv'"),
        (b"", Read(1), "refused: "),
        (_GOOD, AnyOf((Refused(()), Read(3))), "read: 2 rows / 2 rows were read"),
    ],
)
def test_an_outcome_that_is_not_the_expected_one_is_reported(content, expected, problem, tmp_path):
    (failure,) = run_all([DataCase("kind", {"a.csv": content}, expected)], tmp_path)
    assert problem in failure.problem


def test_an_exception_of_another_kind_and_a_slow_input_are_reported(tmp_path, monkeypatch):
    def fail(*_) -> None:
        raise KeyError("x")

    monkeypatch.setattr("tests.robustness.running.find_files", fail)
    (failure,) = run_all([DataCase("kind", {"a.csv": _GOOD}, Read(2))], tmp_path)
    assert failure.problem == "unexpected KeyError: 'x'"
    now = iter((0.0, MOST_SECONDS + 1))
    monkeypatch.undo()
    monkeypatch.setattr(time, "process_time", lambda: next(now))
    (failure,) = run_all([DataCase("kind", {"a.csv": _GOOD}, Read(2))], tmp_path)
    assert "took" in failure.problem
