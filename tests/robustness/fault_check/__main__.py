"""`python -m tests.robustness.fault_check`: shows its progress, prints a table, exits with 1 if anything is red."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.robustness.fault_check import kills
from tests.robustness.fault_check.faults import FAULTS, NOT_CHECKED
from tests.robustness.fault_check.site import Result, Site


class Table:
    """Outcomes, printed one by one and at the end."""

    def __init__(self):
        self._rows: list[tuple[str, str, float]] = []

    def check(self, name: str, outcome: Callable[[], str]) -> None:
        """Makes one check and prints its outcome; an empty text is good."""
        print(f"{name} ...", flush=True)
        started = time.monotonic()
        try:
            found = outcome()
        except Exception as error:  # one check that breaks must not hide the others
            found = f"{type(error).__name__}: {error}"
        self._rows.append((name, found, time.monotonic() - started))
        print(f"  {found or 'ok'} ({self._rows[-1][2]:.0f} s)", flush=True)

    def end(self) -> int:
        """Prints all outcomes; returns the exit code."""
        skipped = [row for row in self._rows if row[1].startswith(NOT_CHECKED)]
        red = [row for row in self._rows if row[1] and row not in skipped]
        print("\n| check | outcome |\n|---|---|\n" + "\n".join(f"| {n} | {o or 'ok'} |" for n, o, _ in self._rows))
        checked = len(self._rows) - len(skipped)
        print(f"\n{checked - len(red)} of {checked} survived; {len(skipped)} could not be checked here")
        return int(bool(red))


def main() -> int:
    """Parses the command line and makes all checks."""
    parser = argparse.ArgumentParser(prog="fault_check", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="number of kills, at least 4; 0 leaves them out")
    parser.add_argument("--seed", type=int, default=0, help="of the points of the kills")
    parser.add_argument("--fault", action="append", help="only this fault; may be repeated")
    parser.add_argument("--no-faults", action="store_true", help="kills alone")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="recspan-fault-check-"))
    table = Table()
    try:
        site = Site(directory / "site")
        print("reference run ...", flush=True)
        ended = site.run()
        if ended.code:
            sys.exit(f"the reference run failed: {ended.errors}")
        reference = site.result()
        site.save("finished")
        if options.kills:
            _kills(site, reference, options.kills, options.seed, table)
        if not options.no_faults:
            for name, fault in FAULTS.items():
                if not options.fault or name in options.fault:
                    site.restore("finished")
                    table.check(name, lambda fault=fault: fault(site, reference))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return table.end()


def _kills(site: Site, reference: Result, count: int, seed: int, table: Table) -> None:
    (run,) = (site.root / "runs").iterdir()
    components = json.loads((run / "summary.json").read_text())["components"]
    seconds = {row["component"]: row["seconds"] for row in components}
    for component in kills.make_states(site):
        print(f"killed at the beginning of {component}", flush=True)
    for number, kill in enumerate(kills.plan(count, seed, seconds), start=1):
        table.check(f"kill {number}: {kill.where}", lambda kill=kill: kills.survive(site, kill, reference))


if __name__ == "__main__":
    sys.exit(main())
