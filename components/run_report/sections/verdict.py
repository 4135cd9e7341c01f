"""Whether the model was pushed, and why."""

from components.pusher.comparison import shown
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Block, Section, Text, Tile, Tiles


def section(run: RunArtifacts) -> Section:
    """The verdict, what missed a threshold, and the metrics that decide."""
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
    rows = run.summary["examples"]["rows"]
    tiles.append(Tile(label="training rows", value=f"{rows['train']:,}", note=f"{rows['test']:,} test rows"))
    blocks: list[Block] = [Tiles(tiles=tuple(tiles))]
    blocks += [Text(text=failure, tone="bad") for failure in evaluation["failures"]]
    return Section(id="verdict", title="Verdict", blocks=tuple(blocks))
