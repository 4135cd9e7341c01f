import importlib.metadata
import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline import doctor, host


def report(checks):
    output = io.StringIO()
    fine = doctor.print_report(checks, Console(file=output, width=200))
    return fine, output.getvalue()


def test_the_locked_environment_passes():
    expected = doctor.expected_versions(doctor.LOCK_FILE)
    assert expected["tfx"] == "==1.21.0"
    assert {check.status for check in doctor.check_packages(expected)} == {"pass"}


def test_without_a_lock_file_the_own_metadata_says_what_is_expected(tmp_path):
    expected = doctor.expected_versions(tmp_path / "uv.lock")
    assert expected["tensorflow-recommenders"] == "==0.7.7"
    assert {check.status for check in doctor.check_packages(expected)} == {"pass"}


def test_a_wrong_version_and_a_missing_package_fail():
    wrong, missing = doctor.check_packages({"numpy": "==0.1", "surely-not-installed": "==1"})
    assert (wrong.status, wrong.found) == ("fail", importlib.metadata.version("numpy"))
    assert (missing.status, missing.found) == ("fail", "not installed")
    fine, text = report([wrong, missing])
    assert not fine
    assert "make setup" in text
    assert "2 failure(s)" in text


def test_every_installed_package_is_held_against_the_lock():
    check = doctor.check_other_packages(doctor.locked_versions(doctor.LOCK_FILE))
    assert check.status == "pass", check.found
    assert int(check.found.split()[0]) > 200
    wrong = doctor.check_other_packages({"numpy": "0.1", "surely-not-installed": "1"})
    assert (wrong.status, wrong.found) == ("fail", f"numpy {importlib.metadata.version('numpy')}")


def test_a_harmful_package_fails():
    assert doctor.check_absent("surely-not-installed", "reason").status == "pass"
    found = doctor.check_absent("numpy", "it bites")
    assert (found.status, found.fix) == ("fail", "pip uninstall numpy: it bites")


def test_an_unsupported_host_fails_with_the_way_out():
    check = doctor.check_host(replace(host.this_host(), glibc=(2, 31)))
    assert check.status == "fail"
    assert "Ubuntu 22.04" in check.fix


def test_a_module_that_crashes_or_fails_is_reported_and_the_rest_still_checked(tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    (tmp_path / "failing.py").write_text("raise OSError('wrong ELF class')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {check.name: check for check in doctor.check_native_modules(("crashing", "failing", "json"))}
    assert found["import crashing"].found == "killed by signal 11"
    assert found["import failing"].found == "OSError: wrong ELF class"
    assert found["import failing"].fix.startswith("remove .venv")
    assert [found[f"import {name}"].status for name in ("crashing", "failing", "json")] == ["fail", "fail", "pass"]


def test_a_module_that_ends_the_process_is_reported_once(tmp_path, monkeypatch):
    (tmp_path / "leaving.py").write_text("import os; os._exit(0)")
    (tmp_path / "exiting.py").write_text("import sys; sys.exit(0)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {check.name: check for check in doctor.check_native_modules(("leaving", "exiting", "json"))}
    assert found["import leaving"].found == "ended the process with exit code 0"
    assert found["import exiting"].found == "SystemExit: 0"
    assert found["import json"].status == "pass"


def test_a_module_that_prints_and_hangs_is_reported(tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text("print('{loading}', flush=True)\nimport time\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "_LOAD_SECONDS", 2)
    hanging, json = doctor.check_native_modules(("hanging", "json"))
    assert hanging.found == "did not load within 2 s"
    assert hanging.fix.startswith(
        "run it again when the machine has less to do; if it still does not load, remove .venv"
    )
    assert json.status == "pass"


def test_a_tensorflow_without_its_keras_does_not_load(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text("def __getattr__(name): raise ImportError('no ' + name)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tensorflow, json = doctor.check_native_modules(("tensorflow", "json"))
    assert tensorflow.found == "ImportError: no keras"
    assert json.status == "pass"


def test_an_error_message_with_brackets_is_shown_as_it_is():
    message = "ImportError: [/usr/lib/libfoo.so] undefined symbol"
    _, text = report([doctor.Check("import foo", message, "loads", "fail", "[fix]")])
    assert message in text
    assert "[fix]" in text


def test_legacy_keras_is_checked_in_the_loading_process():
    found = {check.name: check for check in doctor.check_native_modules(("tensorflow",))}
    assert found["tf.keras"].status == "pass"
    assert "CPU:0" in found["devices"].found


@pytest.mark.parametrize(("available", "status"), [(3 << 30, "pass"), (1 << 30, "fail")])
def test_amounts(available, status):
    assert doctor.check_amount("disk", available, 2 << 30, "make room").status == status


def test_nothing_failed_means_all_pass():
    fine, text = report([doctor.check_amount("disk", 2, 1, ""), doctor.Check("devices", "CPU:0", "", "info")])
    assert fine
    assert "all pass" in text
