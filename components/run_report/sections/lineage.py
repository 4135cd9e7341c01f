"""Where everything came from: artifacts, versions, the experiment."""

import yaml

from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Block, Code, Facts, Section


def section(run: RunArtifacts) -> Section:
    """Artifacts, vocabularies, verification, packages and the experiment."""
    summary = run.summary
    artifacts = (
        ("examples", next(iter(run.uris.examples.values()), "").rpartition("/Split-")[0]),
        ("transform graph", run.uris.transform_graph),
        ("training", run.uris.model_run),
        ("model", run.uris.model),
        ("evaluation", run.uris.evaluation),
        ("pushed to", summary.get("pushed_to", "not pushed")),
        ("raw files", summary["data_dir"]),
        ("vocabularies (SHA-256)", summary.get("training", {}).get("vocabularies", "")),
    )
    # A stopped run has not made all of them.
    made = tuple((name, value) for name, value in artifacts if value)
    blocks: list[Block] = [Facts(title="artifacts", facts=made)]
    if check := summary.get("verification"):
        facts = (
            ("rows", f"{check['rows']:,}"),
            ("largest difference", f"{check['largest_difference']:.3g}"),
            ("share of the tolerance", f"{check['share_of_tolerance']:.1%}"),
            ("signatures", ", ".join(check["signatures"])),
        )
        blocks.append(Facts(title="verified in a fresh process with plain TensorFlow", facts=facts))
    blocks.append(Facts(title="packages", facts=tuple(summary["packages"].items())))
    blocks.append(Code(title="experiment", text=yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)))
    return Section(id="lineage", title="Lineage", blocks=tuple(blocks))
