"""What was read: rows by split, bad rows, anomalies, leakage."""

from components.example_gen.bigquery.layout import described_results
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Bar, Bars, Block, Cell, Column, Facts, Section, Table, Text


def section(run: RunArtifacts) -> Section:
    """Splits, what was set aside, and what does not fit the schema."""
    examples = run.summary["examples"]
    rows = {split: count for split, count in examples["rows"].items() if count}
    total = sum(rows.values())
    bars = tuple(
        Bar(label=split, value=float(count), text=f"{count:,} rows ({count / total:.1%})")
        for split, count in rows.items()
    )
    protocol = run.config["data"]["split"]["by"]
    facts = [
        ("split", f"by {protocol}"),
        ("leakage", "no row broke the protocol's promise; a run with a leak stops before training"),
        ("bad rows", f"{examples['bad_rows']:,} set aside" if examples["bad_rows"] else "none"),
    ]
    if "spans" in examples:
        facts.append(("spans", str(examples["spans"])))
    facts += described_results(examples).items()
    blocks: list[Block] = [Bars(title="rows by split", bars=bars), Facts(facts=tuple(facts))]
    if not run.is_validated:
        blocks.append(Text(text="Whether the rows fit the schema was not looked at."))
    elif run.findings:
        cells: list[tuple[Cell, ...]] = [
            (each.split, each.feature, each.severity.lower(), each.what, each.description) for each in run.findings
        ]
        heads = ("split", "column", "severity", "what", "found and expected")
        blocks.append(Table(title="anomalies", columns=tuple(Column(name=head) for head in heads), rows=tuple(cells)))
    else:
        blocks.append(Text(text="All splits fit the schema: no anomalies.", tone="good"))
    return Section(id="data", title="Data", blocks=tuple(blocks))
