"""The local pipeline for the stock `tfx` CLI (`tfx pipeline create --engine=local --pipeline-path=THIS FILE`).

The CLI passes no arguments; three environment variables take their place: `RECSPAN_CONFIG` (experiment file),
`RECSPAN_ROOT` (directory for artifacts and pushed models) and `RECSPAN_DATA` (directory of the raw files).
"""

import os
import sys
from pathlib import Path

from pipeline.config import Locations, load_config
from pipeline.exit_codes import NOT_PUSHED
from pipeline.interruption import RESULTS_OF_COMPONENTS, end_when_asked_to, exit_code, keeps
from pipeline.local.run import run_locally
from pipeline.streams import prepare_streams
from trainer_module.errors import RecspanError


def main() -> int:
    """Runs the pipeline that the environment variables describe; returns the exit code."""
    prepare_streams()
    end_when_asked_to()
    keeps(RESULTS_OF_COMPONENTS)
    file, data = os.environ.get("RECSPAN_CONFIG"), os.environ.get("RECSPAN_DATA")
    root = Path(os.environ.get("RECSPAN_ROOT", "runs"))
    try:
        config = load_config(Path(file) if file else None)
        locations = Locations.resolve(config, root, Path(data) if data else None)
        outcome = run_locally(config, locations, ask_tfx=True)
    except RecspanError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    return 0 if outcome is None or outcome.pushed_to else NOT_PUSHED


if __name__ == "__main__":
    code = main()
    if code:
        sys.exit(code)
