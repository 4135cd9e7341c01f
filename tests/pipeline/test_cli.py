import json
import subprocess
import sys

import pytest

from tests.launcher import recspan, recspan_command

VERBS = [
    [],
    ["doctor"],
    ["plan"],
    ["predict"],
    ["recommend"],
    ["tune"],
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
    ["explain"],
    ["neighbours"],
    ["models"],
    ["models", "list"],
    ["models", "rollback"],
    ["runs"],
    ["runs", "list"],
    ["runs", "show"],
    ["runs", "compare"],
    ["bench"],
    ["bench", "data"],
    ["bench", "train"],
    ["bench", "serve"],
]

# Prints, per verb, the exit code of its help, the text, and which modules that take long have been imported by then.
HELP = """
import contextlib, io, json, sys
from pipeline.cli import main
LONG = {"tensorflow", "tfx", "apache_beam", "pyarrow", "numpy", "optuna", "google.cloud.aiplatform_v1"}
answers = []
for verb in json.loads(sys.argv[1]):
    sys.argv = ["recspan", *verb, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            main()
            code = None
        except SystemExit as end:
            code = end.code
    answers.append([code, text.getvalue(), sorted(LONG & set(sys.modules))])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, list]:
    """What `HELP` prints, by verb."""
    command = [sys.executable, "-c", HELP, json.dumps(VERBS)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return dict(zip(map(" ".join, VERBS), json.loads(process.stdout), strict=True))


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_imports_nothing_that_takes_long(helps, verb):
    code, text, imported = helps[" ".join(verb)]
    assert code == 0
    assert "Usage" in text
    assert not imported


def test_a_mistake_gets_one_message_and_exit_code_1(tmp_path):
    command = recspan_command(sys.executable, "pipeline", "run", "--set", "training.epoch=3")
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
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


def test_combine_refuses_what_can_be_no_directory_of_versions(tmp_path):
    both = ("pipeline", "combine", "--retrieval", "a/1", "--ranking", "b/1")
    process = recspan(*both, "--name", "../elsewhere", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith("error: --name ../elsewhere: take up to 200 lower-case letters, digits")
    process = recspan(*both, "--candidates", "5", cwd=tmp_path)
    assert process.stderr.startswith("error: -k 10: lists cannot be longer than --candidates 5")


def test_recommend_takes_one_user_or_all(tmp_path):
    for arguments in ([], ["--user", "1", "--all-users"], ["--all-users"], ["--user", "1", "--output", "x.parquet"]):
        process = recspan("recommend", *arguments, cwd=tmp_path)
        assert process.returncode == 1
        assert process.stderr.startswith("error: recommend: give --user ID, or --all-users with --output FILE")
    process = recspan("recommend", "--user", "1", cwd=tmp_path)
    assert process.returncode == 1
    assert "no pushed retrieval model below runs/serving" in process.stderr
