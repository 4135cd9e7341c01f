import os
import subprocess
import sys


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    ours = ("TF_USE_LEGACY_KERAS", "TF_ONEDNN_USE_SYSTEM_ALLOCATOR")
    clean = {key: value for key, value in os.environ.items() if key not in ours}
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


def test_memory_of_freed_tensors_goes_back_to_the_system():
    code = """
import gc, trainer_module, psutil, tensorflow as tf
from pipeline.local.peak_memory import release_memory
resident = psutil.Process().memory_info
held = [tf.random.uniform([1 << 18], maxval=9, dtype=tf.int64) for _ in range(200)]
most = resident().rss
del held
release_memory()
print(most - resident().rss)
"""
    assert int(run(code).stdout) > 0.9 * 200 * 8 * (1 << 18)
