"""Programs that are forks behave as fresh processes do, but for the time that their imports take."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import launcher
from tests.launcher.server import PRODUCT

HEAVY = {"tensorflow", "tensorflow_recommenders", "tfx", "apache_beam"}
IMPORTED = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
TRAINING = """
import tensorflow as tf
model = tf.keras.Sequential([tf.keras.layers.Dense(4), tf.keras.layers.Dense(1)])
model.compile("sgd", "mse")
losses = model.fit(tf.ones([64, 3]), tf.ones([64, 1]), epochs=20, verbose=0).history["loss"]
print(tf.keras.Model.__module__.partition(".")[0], losses[-1] < losses[0] / 10)
"""
AT_THE_END = """
import atexit, threading, time
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print("main")
"""


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([launcher.python(), *arguments], capture_output=True, text=True, **options)


def start(code: str) -> subprocess.Popen:
    """Starts a program that has printed a line."""
    process = subprocess.Popen([launcher.python(), "-c", code], stdout=subprocess.PIPE, text=True)
    process.first_line = process.stdout.readline()
    return process


def test_packages_of_others_are_imported_and_the_product_is_not():
    imported = set(json.loads(run("-c", IMPORTED).stdout))
    assert imported >= HEAVY
    assert not imported & set(PRODUCT)


def test_an_isolated_program_has_tensorflow_alone_and_no_other_search_path(tmp_path):
    (tmp_path / "mine.py").touch()
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert set(json.loads(run("-I", "-c", IMPORTED).stdout)) & HEAVY == {"tensorflow"}
    assert run("-c", "import mine", env=environment).returncode == 0
    assert "No module named 'mine'" in run("-I", "-c", "import mine", env=environment).stderr


def test_an_edited_copy_of_the_product_is_imported(tmp_path):
    module = tmp_path / "trainer_module" / "__init__.py"
    module.parent.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for text in ("first", "edited"):
        module.write_text(f"TEXT = {text!r}")
        command = ("-c", "import trainer_module; print(trainer_module.TEXT)")
        process = run(*command, env=environment, cwd=tmp_path)
        assert process.stdout == f"{text}\n", process.stderr


def test_a_program_trains_a_model_with_keras_2():
    process = run("-c", TRAINING)
    assert process.stdout == "tf_keras True\n", process.stderr


def test_a_program_has_its_arguments_directory_environment_and_input(tmp_path):
    code = "import os, sys; print(sys.argv, os.getcwd(), dict(os.environ), input(), sep='\\n')"
    script, package = tmp_path / "script.py", tmp_path / "package"
    package.mkdir()
    for file in (script, package / "__main__.py"):
        file.write_text(code)
    (package / "__init__.py").touch()
    environment = {"A": "1", "TF_USE_LEGACY_KERAS": "1", "LC_CTYPE": "C.UTF-8"}
    for command, name in (
        (["-c", code], "-c"),
        (["-m", "package"], str(package / "__main__.py")),
        ([str(script)], str(script)),
    ):
        process = run(*command, "x", "--y", cwd=tmp_path, env=environment, input="typed\n")
        argv, directory, seen, typed = process.stdout.splitlines()
        assert argv == str([name, "x", "--y"])
        assert (directory, typed) == (str(tmp_path), "typed")
        assert eval(seen) == environment


@pytest.mark.parametrize(
    ("code", "returned", "errors"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('why')", 1, "why\n"),
        ("raise ValueError('why')", 1, "ValueError: why\n"),
        ("import os; os.abort()", -signal.SIGABRT, ""),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
    ],
)
def test_a_program_ends_with_its_code_or_signal(code, returned, errors):
    process = run("-c", code)
    assert process.returncode == returned
    assert process.stderr.endswith(errors)


def test_threads_and_exit_functions_finish_before_the_program_ends():
    assert run("-c", AT_THE_END).stdout == "main\nthread\nat exit\n"


def test_a_signal_reaches_the_program():
    handler = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(5))"
    process = start(f"{handler}; print('ready', flush=True); time.sleep(60)")
    process.terminate()
    assert process.wait(timeout=30) == 5


def test_a_program_dies_with_the_process_that_stands_for_it():
    process = start("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    program = Path("/proc", process.first_line.strip())
    assert program.exists()
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while program.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not program.exists()


def test_what_a_program_starts_is_a_fork_as_well():
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {IMPORTED!r}], check=True)"
    assert set(json.loads(run("-c", code).stdout)) >= HEAVY


def test_other_options_are_those_of_the_environments_python():
    process = run("-S", "-c", IMPORTED)
    assert not set(json.loads(process.stdout)) & HEAVY
