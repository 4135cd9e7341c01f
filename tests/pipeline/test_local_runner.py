import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).parent.parent.parent / "pipeline" / "local_runner.py"


def test_a_mistake_in_the_experiment_file_gets_one_message(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("training: {epoch: 1}")
    monkeypatch.setenv("RECSPAN_CONFIG", "mine.yaml")
    process = subprocess.run([sys.executable, RUNNER], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.startswith("error: mine.yaml: training.epoch: unknown key. Did you mean training.epochs?")
    assert "Traceback" not in process.stderr
