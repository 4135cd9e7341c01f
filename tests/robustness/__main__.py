"""Prints how many inputs of each class are handled: `python -m tests.robustness --seed 3`."""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.robustness import data_files, experiments
from tests.robustness.running import run_all


def main() -> None:
    """Runs all cases of a seed; exits with 1 if an input is not handled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the generators")
    seed = parser.parse_args().seed
    started = time.perf_counter()
    cases = [*data_files.make_cases(seed), *experiments.make_cases(seed)]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_STATE_HOME"] = scratch
        failures = run_all(cases, Path(scratch))
    unhandled = Counter(failure.case.kind for failure in failures)
    for kind, count in sorted(Counter(case.kind for case in cases).items()):
        print(f"{count - unhandled[kind]:4} of {count:4}  {kind}")
    seconds = time.perf_counter() - started
    print(f"{len(cases) - len(failures):4} of {len(cases):4}  all classes, seed {seed}, {seconds:.0f} s")
    for failure in failures:
        print(f"{failure.case.kind}: {failure.problem}")
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
