"""The lines about drift at the end of a run."""

from pipeline.report import print_report
from tests.components.run_report.test_sections import MEASURED

SUMMARY = {
    "components": [],
    "evaluation": {"slices": [{"slice": "overall", "auc": 0.7}], "baselines": [], "failures": []},
    "blessing": {"push": True, "reason": "good"},
    "log": "log.txt",
}


def lines(capsys, **drift) -> list[str]:
    print_report(SUMMARY | {"drift": {"name": "span 4", "compared_with": ["span 3"], "findings": [], **drift}})
    return [line for line in capsys.readouterr().out.splitlines() if "drift" in line or "country" in line]


def test_findings_are_printed_with_what_to_do(capsys):
    first, second = lines(capsys, findings=[MEASURED.model_dump()])
    assert first == "drift: span 4 differs from earlier data"
    assert "country: l_infinity 0.210 against span 3, the previous one is above 0.065 (history of 3 spans" in second
    assert "has its spelling, its unit or its source changed?" in second


def test_so_is_that_there_are_none(capsys):
    assert lines(capsys) == ["drift: none in span 4, against span 3"]
    assert lines(capsys, compared_with=[], notes=["span 3 is gone"]) == ["drift: not compared: span 3 is gone"]
    # As an earlier version wrote it.
    assert lines(capsys, compared_with=[]) == ["drift: not compared: nothing to compare with yet"]


def test_many_findings_are_counted(capsys):
    found = [MEASURED.model_copy(update={"column": f"country{number}"}).model_dump() for number in range(10)]
    print_report(SUMMARY | {"drift": {"name": "span 4", "compared_with": ["span 3"], "findings": found}})
    assert "and 2 more, in the report" in capsys.readouterr().out
