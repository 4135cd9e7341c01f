"""`python setup.py sdist`, which Dataflow's `--setup_file` calls, packs all that its workers import and read."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PACKAGES = ("schema", "trainer_module", "components", "pipeline")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")


def test_all_packages_presets_and_schemas_are_packed(tmp_path):
    source = tmp_path / "source"
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(PROJECT / name, source)
    expected = {str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}
    assert {Path(name).suffix for name in expected} >= {".py", ".yaml", ".pbtxt"}
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path / "packed")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (archive,) = (tmp_path / "packed").glob("recspan-*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    assert not expected - packed
