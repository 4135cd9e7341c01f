"""Days of clicks: a run that drift stops leaves its page, is listed and compared, and is accepted once and for all."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.workspace import Workspace

EXPERIMENT = """
name: small
data:
  interactions: {files: "days/day-{SPAN}.csv", label: clicked, categorical: [user, item, country]}
  task: click
  window: 1
validation: {drift: {action: stop, columns: {country: {new_tokens: 0.1}}}}
model: {type: dcn}
embeddings: {dim: 4}
training: {batch_size: 64, epochs: 3}
evaluation: {beat_baseline: false}
"""
FAILED = 1


def write_day(directory: Path, day: int, countries: tuple[str, ...]) -> None:
    directory.mkdir(exist_ok=True)
    random = np.random.default_rng(day)
    lines = ["user,item,country,clicked"]
    for _ in range(600):
        user, item = random.integers(30), random.integers(20)
        lines.append(f"u{user},i{item},{random.choice(countries)},{int(random.random() < 0.3 + 0.4 * (item % 2))}")
    (directory / f"day-{day}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    made = Workspace.create(tmp_path_factory.mktemp("days"), EXPERIMENT)
    write_day(made.directory / "days", 1, ("us", "de"))
    write_day(made.directory / "days", 2, ("US", "de"))
    return made


def test_a_day_that_is_stopped_and_accepted(workspace):
    first, summary = workspace.run("--set", "data.last_span=1")
    assert summary, first.stdout + first.stderr
    stopped, _ = workspace.run()
    assert stopped.returncode == FAILED
    (page,) = [line.removeprefix("(report: ").rstrip(")") for line in stopped.stderr.splitlines() if "(report" in line]
    directory = Path(page).parent
    facts = json.loads((directory / "stopped.json").read_text())
    assert (facts["verdict"], facts["component"], facts["refused_data"]) == ("stopped by drift", "DriftGate", True)
    assert facts["components"][-1]["stopped"] and facts["report"] == page
    text = Path(page).read_text()
    for section in ("verdict", "flow", "data", "drift", "columns", "absent", "lineage"):
        assert f'<section id="{section}"' in text
    assert "stopped the run" in text and "US" in text and "span 1, the previous one" in text

    listed = workspace.recspan("runs", "list").stdout
    assert "stopped by drift" in listed
    shown = workspace.recspan("runs", "show").stdout
    assert page in shown.replace("\n", "") and "differs from earlier data" in shown
    compared = workspace.recspan("runs", "compare", "last", sorted(path.name for path in directory.parent.iterdir())[0])
    assert compared.returncode == 0, compared.stderr
    assert "stopped by drift" in compared.stdout and f"report of {directory.name}: {page}" in compared.stdout
    assert "judged no model: stopped by drift" in compared.stdout

    accepted, summary = workspace.run("--set", "validation.drift.action=warn")
    assert summary["drift"]["findings"], accepted.stdout + accepted.stderr
    again, summary = workspace.run()
    assert summary["drift"]["findings"], again.stdout + again.stderr
    assert "span 2 was accepted by an earlier run" in summary["drift"]["notes"][-1]


@pytest.mark.parametrize(
    ("line", "verdict", "component"),
    [
        ("u1,i1,us,maybe", "stopped by bad data", "ExampleGen"),
        ("u1,i1,us,0.5", "stopped by bad data", "ExampleGen"),
    ],
)
def test_bad_rows_leave_a_page_without_data(workspace, line, verdict, component):
    file = workspace.directory / "days" / "day-3.csv"
    file.write_text(f"user,item,country,clicked\n{line}\n")
    process, _ = workspace.run()
    file.unlink()
    assert process.returncode == FAILED
    last = max((workspace.directory / "runs" / "runs").iterdir())
    facts = json.loads((last / "stopped.json").read_text())
    assert (facts["verdict"], facts["component"]) == (verdict, component)
    assert f"no rows were taken in: the run stopped in {component}" in (last / "report.html").read_text()
