"""Runs the example client in a process of its own."""

import subprocess
import sys
from pathlib import Path

SERVING_FILES = Path(__file__).parents[2] / "docker" / "serving"


def ask(*arguments: str) -> subprocess.CompletedProcess:
    """What the client prints and how it exits."""
    return subprocess.run([sys.executable, SERVING_FILES / "client.py", *arguments], capture_output=True, text=True)
