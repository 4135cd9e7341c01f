"""How often the drift gate's default thresholds are right: generated days, of which one comes from a broken collector.

    python -m benchmarks.drift --first-seed 10 --seeds 20 --days 10 --rows 5000

Each seed draws its own days; new users and items arrive every day. Prints how many of the days without a fault are
above a threshold, how many of those would stop a run, and the same of the broken days, with the measures of the first
seed's broken day.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.drift.comparison import compare_with_earlier
from components.drift.config import DriftConfig, compared_columns
from components.drift.findings import as_table
from components.drift.history import Entry
from components.drift.profile import Profile, profile_of, save
from components.drift.report import DriftReport
from components.example_gen.generated.days import Shop, draw_day
from trainer_module.data.datasets.days import SYNTHETIC_DAYS

FEATURES = SYNTHETIC_DAYS.spec().features
KINDS = compared_columns(FEATURES)


def profile(rows: pa.Table) -> Profile:
    """The profile of a generated day."""
    schema = FEATURES.arrow_schema()
    splits = pa.array(np.arange(rows.num_rows + 1, dtype=np.int64))
    columns = {}
    for name in KINDS:
        values = rows.column(name).combine_chunks().cast(schema.field(name).type.value_type)
        columns[name] = pa.LargeListArray.from_arrays(splits, values)
    return profile_of([pa.record_batch(columns)], KINDS)


def reports(seed: int, days: int, rows: int, drift_on: int, directory: Path) -> Iterator[tuple[int, DriftReport]]:
    """The reports of one seed's days; the broken day is refused, so that later ones are compared with the one before.

    Args:
        seed: Of the days.
        days: Number of days.
        rows: Rows of a day.
        drift_on: The broken day, from 1.
        directory: Of the profiles.
    """
    shop = Shop.plant(days, seed)
    config = DriftConfig(action="stop")
    entries: tuple[Entry, ...] = ()
    for day in range(1, days + 1):
        new = profile(draw_day(shop, day, rows, seed, day == drift_on))
        uri = str(directory / f"{seed}-{day}")
        save(new, uri)
        own = Entry(name=f"day {day}", span=day, window=str(day), examples=uri, newest=uri, whole=uri, rows=rows)
        report = compare_with_earlier(own, new, entries, None, KINDS, config)
        yield day, report
        if day != drift_on:
            entries = report.entries


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--drift-on", type=int, default=4)
    options = parser.parse_args()
    counts = {False: [0, 0, 0], True: [0, 0, 0]}
    shown = ""
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            found = reports(seed, options.days, options.rows, options.drift_on, Path(directory))
            for day, report in found:
                count = counts[day == options.drift_on]
                # The first day has nothing to be compared with.
                count[0] += bool(report.compared_with)
                count[1] += bool(report.drift)
                count[2] += any(each.may_stop for each in report.drift)
                if day == options.drift_on and not shown:
                    shown = as_table(report.drift)
    for is_broken, (compared, above, stopping) in counts.items():
        kind = "broken days" if is_broken else "days without a fault"
        print(f"{kind}: {compared} compared, {above} above a threshold, {stopping} would stop a run")
    print(shown)


if __name__ == "__main__":
    main()
