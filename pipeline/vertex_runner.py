"""The pipeline on Vertex AI for the stock `tfx` CLI (`tfx pipeline create --engine=vertex --pipeline-path=THIS FILE`).

The CLI passes no arguments, so `RECSPAN_CONFIG` names the experiment file, whose section `vertex` says the rest. The
compiled pipeline is `pipeline.json`, where the CLI keeps its pipelines or, for `tfx pipeline compile` and without the
CLI, in the current directory.
"""

import os
import sys
from pathlib import Path

from pipeline.config import load_config
from pipeline.exit_codes import FAILED
from trainer_module.errors import RecspanError


def main() -> int:
    """Compiles the pipeline that the environment variable describes; returns the exit code."""
    file = os.environ.get("RECSPAN_CONFIG")
    try:
        config = load_config(Path(file) if file else None)
        # TFX takes seconds to import, and a mistake in the file is said at once.
        from pipeline.vertex.compile import compile_to_file

        compile_to_file(config)
    except RecspanError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    code = main()
    if code:
        sys.exit(code)
