import logging
import os
import subprocess
import sys
import warnings

import pytest
from rich.console import Console

from pipeline.console import ComponentProgress, output_to


@pytest.fixture
def terminal(capfd):
    """What reaches the real standard output and error."""
    return lambda: "".join(capfd.readouterr())


def test_chatter_of_all_kinds_goes_to_the_file(tmp_path, terminal):
    log = tmp_path / "deep" / "log.txt"
    with output_to(log) as console:
        print("from Python", file=sys.__stdout__, flush=True)  # what sys.stdout is outside a test
        os.write(2, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        logging.getLogger("some_library").info("from a library")
        warnings.warn("from a warning", stacklevel=1)
        console.print("for the person")
    shown, logged = terminal(), log.read_text()
    assert shown.strip() == "for the person"
    for source in ("Python", "C", "a child", "a library", "a warning"):
        assert f"from {source}" in logged


def test_the_products_own_messages_are_shown_and_logged(tmp_path, terminal):
    with output_to(tmp_path / "log.txt"):
        logging.getLogger("trainer_module.training.loop").info("epoch %d [of 3]", 1)
        logging.getLogger("trainer_module.training.loop").debug("details")
    assert terminal() == "    epoch 1 [of 3]\n"
    assert "epoch 1 [of 3]" in (tmp_path / "log.txt").read_text()


def test_everything_is_as_before_afterwards_also_after_an_error(tmp_path, terminal):
    handlers = logging.getLogger().handlers[:]
    with pytest.raises(RuntimeError), output_to(tmp_path / "log.txt"):
        raise RuntimeError
    print("back")
    assert terminal() == "back\n"
    assert logging.getLogger().handlers == handlers
    logging.getLogger("trainer_module").warning("not shown by the product any more")
    assert "    not shown" not in terminal()


def test_progress_on_a_plain_log_is_a_line_at_the_start_and_one_at_the_end(tmp_path):
    with (tmp_path / "out.txt").open("w") as file, ComponentProgress(Console(file=file)) as progress:
        progress.started("Trainer")
        assert progress.current == "Trainer"
        progress.finished("Trainer", 1.25, cached=False)
        progress.started("Pusher")
        progress.finished("Pusher", 0.0, cached=True)
        assert progress.current is None
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert lines == ["Trainer ...", "✓ Trainer 1.2 s", "Pusher ...", "✓ Pusher cached"]


def test_several_components_may_run_at_once_and_a_phase_ends_with_the_next_one(tmp_path):
    with (tmp_path / "out.txt").open("w") as file, ComponentProgress(Console(file=file)) as progress:
        progress.begins("importing")
        assert progress.current is None
        progress.started("StatisticsGen")
        progress.started("Transform")
        progress.finished("StatisticsGen", 1.0, cached=False)
        assert progress.current == "Transform"
        progress.finished("Transform", 2.0, cached=False)
        assert progress.current is None
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert lines[-2:] == ["✓ StatisticsGen 1.0 s", "✓ Transform 2.0 s"]


def test_the_component_that_failed_is_the_current_one_whatever_still_runs(tmp_path):
    with (tmp_path / "out.txt").open("w") as file, ComponentProgress(Console(file=file)) as progress:
        progress.started("StatisticsGen")
        progress.started("Transform")
        progress.failed("StatisticsGen")
        progress.finished("Transform", 2.0, cached=False)
        assert progress.current == "StatisticsGen"
