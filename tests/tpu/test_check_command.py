"""The command line of `python -m tpu_worker.check`; which models it lowers, and its exit code."""

import pytest
import typer
from typer.testing import CliRunner

from tpu_worker import check
from tpu_worker.models import MODELS

APP = typer.Typer()
APP.command()(check.main)


@pytest.fixture
def lowered(monkeypatch) -> list[list[str]]:
    """Names of the models of each report, which lowers none of them and finds `dcn` at fault."""
    reports = []

    def report(models, console) -> bool:
        reports.append(list(models))
        return "dcn" not in models

    monkeypatch.setattr(check, "report", report)
    return reports


def test_help_lowers_nothing_and_lists_the_models(lowered):
    result = CliRunner().invoke(APP, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert all(name in result.output for name in MODELS)
    assert lowered == []


def test_without_options_all_models_are_lowered(lowered):
    CliRunner().invoke(APP, [])
    assert lowered == [list(MODELS)]


def test_chosen_models_alone_are_lowered(lowered):
    result = CliRunner().invoke(APP, ["--model", "transformer", "--model", "dlrm"])
    assert result.exit_code == 0
    assert lowered == [["dlrm", "transformer"]]


def test_a_step_that_cannot_be_lowered_exits_with_1(lowered):
    assert CliRunner().invoke(APP, ["--model", "dcn"]).exit_code == 1


def test_an_unknown_model_is_refused_with_the_known_ones(lowered):
    result = CliRunner().invoke(APP, ["--model", "dlrn"], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "no model dlrn; there are rating, dlrm" in result.output
    assert lowered == []
