"""Compares the product's off-policy estimates with those of the Open Bandit Pipeline, on its sample of logs.

python -m benchmarks.off_policy

Needs the package `obp`, version 0.4.1, which the product does not depend on, in an environment of its own: it asks for
old versions of others. Of the product it imports a module that needs NumPy alone.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from obp.dataset import OpenBanditDataset  # pyright: ignore[reportMissingImports]
from obp.ope import InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting  # pyright: ignore[reportMissingImports]
from obp.policy import BernoulliTS, Random  # pyright: ignore[reportMissingImports]

from components.evaluation.off_policy import policy_metrics, policy_sums

_RESULT = Path(__file__).parent / "results" / "off_policy.md"
_CAMPAIGNS = ("all", "men", "women")
_TOLERANCE = 1e-6
# Draws by which the package computes with which probability a policy shows an item.
_SIMULATIONS = 10_000
_SEED = 0

app = typer.Typer(add_completion=False)


@app.command()
def main(output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT) -> None:
    """Estimate each logging policy's value from the other one's log, by both, and write a table."""
    rows = [_compared(campaign, *names) for campaign in _CAMPAIGNS for names in (("random", "bts"), ("bts", "random"))]
    lines = [
        "# Off-policy estimates beside those of the Open Bandit Pipeline",
        "",
        "Measured with `python -m benchmarks.off_policy` and obp 0.4.1, on the sample that it brings: 10,000 rows per",
        f"log. The command fails if an estimate differs from that of obp (IPW and SNIPW) by more than {_TOLERANCE:g}.",
        "The last column is the clicks per row of the policy in its own log.",
        "",
        "| campaign | log of | policy | IPS, 95% | SNIPS, 95% | IPW | SNIPW | mean weight | effective rows | own log |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    print("\n".join(lines))
    output.write_text("\n".join(lines) + "\n")


def _compared(campaign: str, logging: str, evaluated: str) -> str:
    log = OpenBanditDataset(behavior_policy=logging, campaign=campaign).obtain_batch_bandit_feedback()
    own_log = OpenBanditDataset(behavior_policy=evaluated, campaign=campaign).obtain_batch_bandit_feedback()
    settings = {"n_actions": log["n_actions"], "len_list": 3, "random_state": _SEED}
    if evaluated == "bts":
        policy = BernoulliTS(is_zozotown_prior=True, campaign=campaign, **settings)
        chances = policy.compute_batch_action_dist(n_sim=_SIMULATIONS, n_rounds=log["n_rounds"])
    else:
        chances = Random(**settings).compute_batch_action_dist(n_rounds=log["n_rounds"])
    logged = {name: log[name] for name in ("reward", "action", "pscore", "position")}
    theirs = [
        estimator.estimate_policy_value(**logged, action_dist=chances)
        for estimator in (InverseProbabilityWeighting(), SelfNormalizedInverseProbabilityWeighting())
    ]
    weights = chances[np.arange(log["n_rounds"]), log["action"], log["position"]] / log["pscore"]
    ours = policy_metrics(policy_sums(log["reward"], weights))
    for name, value in zip(("ips_value", "snips_value"), theirs, strict=True):
        if abs(ours[name] - value) > _TOLERANCE:
            raise SystemExit(f"{campaign}, {logging}: {name} is {ours[name]}, obp's {value}")
    estimated = (
        f"{ours[n]:.5f} ({ours[f'{n}_low']:.5f}, {ours[f'{n}_high']:.5f})" for n in ("ips_value", "snips_value")
    )
    cells = [campaign, logging, evaluated, *estimated, *(f"{value:.5f}" for value in theirs)]
    cells += [f"{ours['importance_weight']:.3f}", f"{ours['effective_rows']:.0f}", f"{own_log['reward'].mean():.5f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    app()
