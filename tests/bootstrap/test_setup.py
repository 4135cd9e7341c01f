"""What the set-up starts and when; the commands themselves are replaced, so nothing is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap.__main__ as setup
from pipeline.host import this_host

PROJECT = Path(__file__).parent.parent.parent


class Commands:
    """Stands in for `subprocess.run`: records the commands and their environments."""

    def __init__(self):
        self.ran: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.failing = ""

    def run(self, command, env=None, **_):
        text = " ".join(map(str, command))
        self.ran.append(text)
        self.environments.append(env or {})
        failed = bool(self.failing) and self.failing in text
        return subprocess.CompletedProcess(command, returncode=int(failed))


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Commands:
    """A project of its own, in which every command is recorded."""
    for locked, version in ((tmp_path, "9.8.7"), (tmp_path / "tpu_worker", "6.5.4")):
        locked.mkdir(exist_ok=True)
        (locked / "uv.lock").write_text(f'[[package]]\nname = "uv"\nversion = "{version}"\n')
        (locked / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "host.py").write_text("")
    monkeypatch.setattr(setup, "PROJECT", tmp_path)
    monkeypatch.setattr(setup, "_NEEDED_BYTES", 0)
    monkeypatch.setattr(setup, "adjust_modules", lambda *_: [])
    recorded = Commands()
    monkeypatch.setattr(setup.subprocess, "run", recorded.run)
    monkeypatch.setattr(setup.venv, "create", lambda path, **_: path.mkdir(exist_ok=True))
    return recorded


def test_the_locked_uv_installs_the_locked_packages_and_all_have_bytecode(commands, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert setup.main([]) == 0
    pip, uv, product = commands.ran
    assert pip.endswith("pip install --quiet uv==9.8.7")
    assert "sync --frozen --python-platform x86_64-manylinux_2_39 --compile-bytecode" in uv
    assert product.endswith("-m compileall -q bootstrap components pipeline schema trainer_module")
    assert not any("PYTHONDONTWRITEBYTECODE" in environment for environment in commands.environments)


def test_the_tpu_worker_has_a_lock_file_and_an_environment_of_its_own(commands, tmp_path):
    assert setup.main(["tpu_worker"]) == 0
    pip, uv, _ = commands.ran
    assert pip.endswith("uv==6.5.4")
    assert "--project tpu_worker" in uv
    assert {each["UV_PROJECT_ENVIRONMENT"] for each in commands.environments} == {str(tmp_path / ".venv-tpu")}
    assert (tmp_path / ".venv-tpu" / "ready").exists()
    assert not (tmp_path / ".venv").exists()


def test_a_second_call_starts_nothing(commands):
    setup.main([])
    commands.ran.clear()
    assert setup.main([]) == 0
    assert commands.ran == []


@pytest.mark.parametrize("file", ["uv.lock", "pyproject.toml", "pipeline/host.py"])
def test_a_changed_file_makes_it_start_again(commands, tmp_path, file):
    setup.main([])
    commands.ran.clear()
    with (tmp_path / file).open("a") as source:
        source.write("# changed\n")
    setup.main([])
    assert any("sync" in command for command in commands.ran)


def test_a_failed_step_leaves_no_stamp_and_says_how_to_go_on(commands, tmp_path, capsys):
    setup.main([])
    (tmp_path / "pyproject.toml").write_text("[project] # changed\n")
    commands.failing = "sync"
    assert setup.main([]) == 1
    assert not (tmp_path / ".venv" / "ready").exists()
    assert "run the same command again" in capsys.readouterr().err


def test_too_small_a_disk_is_said_before_anything_starts(commands, monkeypatch, capsys):
    monkeypatch.setattr(setup, "_NEEDED_BYTES", 1 << 60)
    assert setup.main([]) == 1
    assert commands.ran == []
    assert "GB free" in capsys.readouterr().err


def test_another_glibc_or_another_place_needs_another_environment():
    product = setup.ENVIRONMENTS["product"]
    here = setup._fingerprint(product, this_host())
    older = this_host().__class__("linux", "x86_64", "CPython", (3, 11), (2, 34))
    assert setup._fingerprint(product, older) != here
    assert setup._fingerprint(setup.Environment(product.locked, "elsewhere"), this_host()) != here


def test_an_environment_without_interpreter_or_pip_is_not_reused(tmp_path):
    assert setup._has_pip(Path(sys.executable))
    gone, without_pip = tmp_path / "gone", tmp_path / "without_pip"
    gone.symlink_to(tmp_path / "nowhere")
    without_pip.write_text("#!/bin/sh\nexit 1\n")
    without_pip.chmod(0o755)
    assert not setup._has_pip(gone)
    assert not setup._has_pip(without_pip)


def test_the_set_up_needs_the_standard_library_alone():
    # -S leaves site-packages out of the search path.
    process = subprocess.run(
        [sys.executable, "-S", "-c", "import bootstrap.__main__"], cwd=PROJECT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
