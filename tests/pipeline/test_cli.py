import subprocess
import sys

import pytest

VERBS = [
    [],
    ["doctor"],
    ["plan"],
    ["predict"],
    ["recommend"],
    ["data"],
    ["data", "fetch"],
    ["data", "generate"],
    ["pipeline"],
    ["pipeline", "run"],
    ["pipeline", "compile"],
    ["pipeline", "submit"],
    ["pipeline", "deploy"],
    ["pipeline", "cost"],
    ["pipeline", "rehearse"],
    ["pipeline", "status"],
    ["pipeline", "list"],
    ["pipeline", "cancel"],
]

HELP = """
import sys
sys.argv = ["recspan", *{verb}, "--help"]
from pipeline.cli import main
try:
    main()
finally:
    heavy = {{"tensorflow", "tfx", "apache_beam", "pyarrow", "numpy", "google.cloud.aiplatform_v1"}} & set(sys.modules)
    assert not heavy, heavy
"""


def recspan(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_imports_nothing_that_takes_long(verb):
    process = subprocess.run([sys.executable, "-c", HELP.format(verb=verb)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "Usage" in process.stdout


def test_a_mistake_gets_one_message_and_exit_code_1(tmp_path):
    process = recspan("pipeline", "run", "--set", "training.epoch=3", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith("error: training.epoch: unknown key. Did you mean training.epochs?")
    assert "Traceback" not in process.stderr


def test_without_data_the_message_says_how_to_get_it(tmp_path):
    process = recspan("pipeline", "run", cwd=tmp_path)
    assert process.returncode == 1
    assert "recspan data fetch movielens-100k" in process.stderr
    assert "--dataset synthetic" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_dataset_can_be_generated(tmp_path):
    process = recspan("data", "generate", "--ratings", "2000", "--users", "50", "--items", "100", cwd=tmp_path)
    assert "2000 ratings in data/synthetic; no model can beat an RMSE of 0.2887" in process.stdout
    assert len((tmp_path / "data" / "synthetic" / "u.data").read_text().splitlines()) == 2000


def test_predict_without_a_model_says_how_to_get_one(tmp_path):
    process = recspan("predict", "--user", "1", "--item", "1", cwd=tmp_path)
    assert process.returncode == 1
    assert "no pushed ranking model below runs/serving" in process.stderr


def test_recommend_takes_one_user_or_all(tmp_path):
    for arguments in ([], ["--user", "1", "--all-users"], ["--all-users"], ["--user", "1", "--output", "x.parquet"]):
        process = recspan("recommend", *arguments, cwd=tmp_path)
        assert process.returncode == 1
        assert process.stderr.startswith("error: recommend: give --user ID, or --all-users with --output FILE")
    process = recspan("recommend", "--user", "1", cwd=tmp_path)
    assert process.returncode == 1
    assert "no pushed retrieval model below runs/serving" in process.stderr
