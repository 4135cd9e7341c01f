import os
import subprocess
import sys


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean | environment)


def test_keras_2_is_selected_before_tensorflow_is_imported():
    code = "import trainer_module, tensorflow as tf; print(tf.keras.Model.__module__)"
    assert run(code, TF_USE_LEGACY_KERAS="0").stdout.startswith("tf_keras")


def test_an_earlier_import_of_tensorflow_is_an_error_that_says_how_to_go_on():
    process = run("import tensorflow, trainer_module")
    assert process.returncode == 1
    assert "SetupError" in process.stderr
    assert "export TF_USE_LEGACY_KERAS=1" in process.stderr


def test_an_earlier_import_with_the_switch_is_fine():
    assert run("import tensorflow, trainer_module", TF_USE_LEGACY_KERAS="1").returncode == 0
