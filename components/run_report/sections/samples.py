"""What three users are recommended, beside what they had before and what they chose then."""

import numpy as np

from components.evaluation import row_files
from components.run_report.artifacts import RunArtifacts, as_bytes
from components.run_report.page import Block, Cell, Column, Section, Table
from trainer_module.data.dataset import HISTORY
from trainer_module.data.spec import RELEVANT, SEEN

_ACTIVITY = (("little", 0.15), ("medium", 0.5), ("much", 0.85))
_SHOWN = 10


def section(run: RunArtifacts) -> Section | None:
    """Lists of a user with little, medium and much activity."""
    if run.dataset.task != "retrieval":
        return None
    seen = run.rows.column(row_files.SEEN_COUNT)
    order = np.argsort(seen, kind="stable")
    table = run.rows.table
    chosen = {name: order[int(share * (len(order) - 1))] for name, share in _ACTIVITY}
    users = {name: table[row_files.USER][int(row)].as_py() for name, row in chosen.items()}
    queries = run.queries(list(users.values()))
    blocks: list[Block] = []
    # Few users may be all three.
    for name, row in {int(row): (name, int(row)) for name, row in chosen.items()}.values():
        user, query = users[name], queries[users[name]]
        earlier = query.get(HISTORY) or query[SEEN]
        # A history ends with the latest item; what was merely seen has no order.
        earlier = list(reversed(earlier)) if query.get(HISTORY) else earlier
        relevant = set(map(as_bytes, query[RELEVANT]))
        listed = table[row_files.LISTED_ITEMS][row].as_py()
        rows: list[tuple[Cell, ...]] = []
        for place in range(max(len(listed), min(_SHOWN, len(earlier)))):
            before = run.title(as_bytes(earlier[place])) if place < min(_SHOWN, len(earlier)) else ""
            item = listed[place] if place < len(listed) else None
            hit = "" if item is None else "yes" if item in relevant else ""
            rows.append((float(place + 1), before, "" if item is None else run.title(item), hit))
        hits = sum(item in relevant for item in listed)
        blocks.append(
            Table(
                title=f"user {user.decode(errors='replace')}, {name} activity: {len(query[SEEN]):,} items before",
                columns=(
                    Column(name="place", digits=0),
                    Column(name="of the history" if query.get(HISTORY) else "had before"),
                    Column(name="recommended"),
                    Column(name="in the test split"),
                ),
                rows=tuple(rows),
                note=f"{hits} of {len(listed)} recommended items are among the {len(relevant)} of the test split.",
            )
        )
    return Section(id="samples", title="Sample recommendations", blocks=tuple(blocks))
