"""What stopped a run, told from the error that a component raised."""

from components.drift.component import DriftFound
from components.example_validator.anomalies import Finding
from components.example_validator.component import AnomaliesFound
from components.pusher.component import VerificationFailed
from pipeline.local.run import user_facing_error
from pipeline.local.stopped import is_refusal_of_data, stop_of
from tests.components.run_report.test_stopped import DRIFT
from trainer_module.errors import DataError, ModelError


def raised(cause: Exception) -> Exception:
    """An error as a runner raises it, whose cause is the product's own."""
    error = RuntimeError("the component failed")
    error.__cause__ = cause
    return error


def test_what_was_refused_has_a_verdict_of_its_own():
    found = (Finding("train", "age", "ERROR", "Out-of-range", "990"),)
    for component, cause, verdict, is_data in (
        ("ExampleGen", DataError("no"), "stopped by bad data", True),
        ("ExampleValidator", AnomaliesFound("no", found), "stopped by anomalies", True),
        ("DriftGate", DriftFound("no", DRIFT), "stopped by drift", True),
        ("Trainer", ModelError("no"), "stopped by a check of the model", False),
        ("Pusher", VerificationFailed("no"), "stopped by verification", False),
        # A fault, and data that only the training finds fault with: nothing is known against the day.
        ("ExampleGen", OSError(28, "No space left on device"), "failed in ExampleGen", False),
        ("Trainer", DataError("no"), "failed in Trainer", False),
    ):
        error = raised(cause)
        assert stop_of(component, error).verdict == verdict
        assert is_refusal_of_data(component, error) is is_data, component
    assert stop_of("DriftGate", raised(DriftFound("no", DRIFT))).drift is DRIFT
    assert stop_of("ExampleValidator", raised(AnomaliesFound("no", found))).findings == found


def test_the_message_names_the_page_or_why_there_is_none(tmp_path):
    error = raised(DriftFound("span 4 differs", DRIFT))
    log = tmp_path / "log.txt"
    assert str(user_facing_error(error, "DriftGate", log)) == f"DriftGate failed: span 4 differs\n(log: {log})"
    error.add_note("The run has no report: no space left")
    shown = user_facing_error(error, "DriftGate", log)
    assert isinstance(shown, DriftFound)
    assert "The run has no report: no space left" in str(shown)
    (tmp_path / "report.html").write_text("page")
    assert f"(report: {tmp_path / 'report.html'})\n(log" in str(user_facing_error(error, "DriftGate", log))
