import os
import signal
import subprocess
import sys

from components.scratch import scratch_directory


def test_it_is_empty_and_removed_at_the_end(tmp_path):
    with scratch_directory(tmp_path, ".part-") as scratch:
        assert scratch.parent == tmp_path and not list(scratch.iterdir())
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from components.scratch import scratch_directory\n"
        "with scratch_directory(Path(sys.argv[1]), '.part-') as scratch:\n"
        "    (scratch / 'half').write_text('x'); print(scratch, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    left = process.stdout.readline().strip()
    with scratch_directory(tmp_path, ".part-") as scratch:
        assert sorted(map(str, tmp_path.iterdir())) == sorted([left, str(scratch)])
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert os.path.exists(left)
    with scratch_directory(tmp_path, ".part-") as scratch:
        assert list(tmp_path.iterdir()) == [scratch]


def test_a_directory_of_another_name_stays(tmp_path):
    (tmp_path / "part-of-mine").mkdir()
    with scratch_directory(tmp_path, ".part-"):
        pass
    assert (tmp_path / "part-of-mine").is_dir()
