"""Whether the model was pushed, and why; or what stopped the run."""

from components.pusher.comparison import shown
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Block, Code, Section, Text, Tile, Tiles
from components.run_report.stop import Stop


def section(run: RunArtifacts) -> Section:
    """The verdict, what missed a threshold, and the metrics that decide."""
    blocks = _stopped(run, run.stop) if run.stop else _judged(run)
    return Section(id="verdict", title="Verdict", blocks=tuple(blocks))


def _stopped(run: RunArtifacts, stop: Stop) -> list[Block]:
    """What stopped the run: the first and the last line of the error, and all of it."""
    lines = [line for line in stop.message.splitlines() if line.strip()]
    tiles = [Tile(label="verdict", value=stop.verdict, note=f"in {stop.component}; no model was pushed", tone="bad")]
    blocks: list[Block] = [Tiles(tiles=tuple(tiles + _rows(run))), Text(text=lines[0], tone="bad")]
    if len(lines) > 1:
        blocks += [Text(text=lines[-1]), Code(title="the whole message", text=stop.message)]
    return blocks


def _judged(run: RunArtifacts) -> list[Block]:
    verdict, evaluation = run.summary["blessing"], run.summary["evaluation"]
    tiles = [
        Tile(
            label="verdict",
            value="pushed" if verdict["push"] else "not pushed",
            note=verdict["reason"],
            tone="good" if verdict["push"] else "bad",
        )
    ]
    for pair in evaluation["baselines"]:
        tiles.append(
            Tile(
                label=pair["metric"].replace("_", " "),
                value=shown(pair["value"]),
                note=f"{pair['reference']}: {shown(pair['reference_value'])}",
            )
        )
    judged = [goal.main_metric for goal in run.goals]
    changes = {name: change for name in judged if (change := run.overall.get(f"{name}_diff")) is not None}
    for name, change in changes.items():
        better = change == 0 or (change > 0) == run.higher_is_better
        tiles.append(
            Tile(
                label=f"{name.replace('_', ' ')} against the last blessed model",
                value=f"{change:+.4f}",
                tone="" if change == 0 else "good" if better else "warn",
            )
        )
    blocks: list[Block] = [Tiles(tiles=tuple(tiles + _rows(run)))]
    blocks += [Text(text=failure, tone="bad") for failure in evaluation["failures"]]
    return blocks


def _rows(run: RunArtifacts) -> list[Tile]:
    if "examples" not in run.summary:
        return []
    rows = run.summary["examples"]["rows"]
    return [Tile(label="training rows", value=f"{rows['train']:,}", note=f"{rows['test']:,} test rows")]
