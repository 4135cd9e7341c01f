"""Imports go downward only: schema data, trainer_module, components, pipeline."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
MAY_IMPORT = {
    "schema": set(),
    "trainer_module": {"trainer_module"},
    "components": {"components", "trainer_module"},
    "pipeline": {"pipeline", "components", "trainer_module"},
    "tpu_worker": {"tpu_worker", "trainer_module"},
    "benchmarks": {"benchmarks", "pipeline", "components", "trainer_module"},
    # The set-up runs before anything is installed; the description of the host is all that it shares.
    "bootstrap": {"bootstrap", "pipeline.host"},
}


def product_imports(source: str) -> set[str]:
    """Dotted names of the product's own modules that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            names.add(node.module or "")
    return {name for name in names if name.split(".")[0] in {*MAY_IMPORT, "tests"}}


def allowed(name: str, room: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in MAY_IMPORT[room])


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below(room):
    files = list((PROJECT / room).rglob("*.py"))
    assert files
    upward = {
        f"{file.relative_to(PROJECT)} imports {name}"
        for file in files
        for name in product_imports(file.read_text())
        if not allowed(name, room)
    }
    assert not upward


def test_an_upward_import_would_be_seen():
    (name,) = product_imports("from pipeline.config import load_config\nimport json")
    assert name == "pipeline.config"
    assert not allowed(name, "trainer_module")
    assert not allowed("pipeline.config", "bootstrap")
    assert allowed(name, "benchmarks")


def test_tensorflow_recommenders_is_imported_in_one_place():
    importing = {
        str(file.relative_to(PROJECT))
        for room in ("trainer_module", "components", "pipeline")
        for file in (PROJECT / room).rglob("*.py")
        if "import tensorflow_recommenders" in file.read_text() or "from tensorflow_recommenders" in file.read_text()
    }
    assert importing == {"trainer_module/embeddings/placement.py"}


def test_private_parts_of_tensorflow_are_touched_in_three_places():
    touching = {
        str(file.relative_to(PROJECT))
        for room in MAY_IMPORT
        for file in (PROJECT / room).rglob("*.py")
        if "tensorflow.python" in file.read_text()
    }
    assert touching == {
        "trainer_module/embeddings/host_variables.py",
        "tpu_worker/described_tpu.py",
        "tpu_worker/tpu_lowering.py",
    }


def test_no_text_file_names_a_home_directory():
    # Spelt in parts, or this file would be a finding.
    homes = ["/" + "root/", "/" + "home/", "/" + "Users/"]
    files = [
        file
        for pattern in ("*/**/*.py", "*/**/*.yaml", "*/**/*.md", "*.toml", "*.md", "*.py", "Makefile", ".ci/run")
        for file in PROJECT.glob(pattern)
        if not file.relative_to(PROJECT).parts[0].startswith((".venv", "runs", "data", "build", "dist"))
    ]
    assert len(files) > 50
    assert not [f"{file.relative_to(PROJECT)}: {home}" for file in files for home in homes if home in file.read_text()]
