"""Imports go downward only: schema data, trainer_module, components, pipeline."""

import ast
from collections.abc import Iterable, Iterator
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
        file
        for file, tree in product_sources(("trainer_module", "components", "pipeline"))
        if any(name.split(".")[0] == "tensorflow_recommenders" for name in imported_modules(tree))
    }
    assert importing == {"trainer_module/private_members.py"}


def test_only_what_runs_on_vertex_ai_imports_its_client():
    """`tfx.v1` imports it and the Kubeflow SDK, which takes as long as a component on little data."""
    importing = {
        file
        for file, tree in product_sources(("trainer_module", "components", "pipeline"))
        if any(f"{name}.".startswith("tfx.v1.") for name in imported_modules(tree))
    }
    assert importing == {"pipeline/vertex/compile.py", "pipeline/vertex/platform.py"}


# The adapter, and what describes and lowers for TPUs that are not there.
MAY_TOUCH_PRIVATE_MEMBERS = {
    "trainer_module/private_members.py",
    "tpu_worker/described_tpu.py",
    "tpu_worker/tpu_lowering.py",
}
# Members that begin with an underscore and that these libraries tell subclasses to call.
FOR_SUBCLASSES = {
    # `tf.keras.optimizers.legacy.Optimizer`.
    "trainer_module/optimizers/adagrad_momentum.py": {
        "_set_hyper",
        "_initial_decay",
        "_serialize_hyperparameter",
        "_use_locking",
        "_fallback_apply_state",
    },
    "trainer_module/optimizers/adamw.py": {"_use_locking", "_fallback_apply_state"},
    "trainer_module/optimizers/lazy_adam.py": {"_use_locking", "_fallback_apply_state"},
    # Python's documented way to end a process whose threads would go on.
    "pipeline/interruption.py": {"_exit"},
    # TFX's executors.
    "components/example_gen/executor.py": {"_log_startup", "_make_beam_pipeline"},
    "components/statistics_gen/component.py": {"_log_startup", "_make_beam_pipeline"},
    "components/transform/component.py": {"_log_startup", "_make_beam_pipeline"},
}


def product_sources(rooms: Iterable[str]) -> Iterator[tuple[str, ast.Module]]:
    """Name and syntax tree of every module."""
    for room in rooms:
        for file in sorted((PROJECT / room).rglob("*.py")):
            yield str(file.relative_to(PROJECT)), ast.parse(file.read_text())


def imported_modules(tree: ast.Module) -> set[str]:
    """Dotted names of imported modules, and of what is imported from them."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def defined_names(tree: ast.Module) -> set[str]:
    """Names of functions and classes, and of all variables and attributes that are assigned to."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def foreign_private_members(tree: ast.Module) -> set[str]:
    """Modules of TensorFlow that are not public, and private names that the module does not define itself."""
    found = {name for name in imported_modules(tree) if is_private_module(name)}
    own = defined_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            found.add(node.attr)
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_private_module(name: str) -> bool:
    first, *others = name.split(".")
    libraries = ("tensorflow", "tf_keras", "keras", "tensorflow_recommenders")
    return first in libraries and ("python" in others[:1] or any(map(is_private, others)))


def test_private_members_of_libraries_are_touched_in_three_modules():
    found = {
        file: private
        for file, tree in product_sources(MAY_IMPORT)
        if (private := foreign_private_members(tree) - FOR_SUBCLASSES.get(file, set()))
    }
    assert set(found) == MAY_TOUCH_PRIVATE_MEMBERS, found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("optimizer._hyper", {"_hyper"}),
        ("self._tpu_embedding.x", {"_tpu_embedding"}),
        ("self._mine = 1\nself._mine", set()),
        ("def _helper(): ...\nmodule._helper()", set()),
        ("import tensorflow.python.ops as ops", {"tensorflow.python.ops"}),
        ("from tensorflow.python import pywrap", {"tensorflow.python.pywrap"}),
        ("from tensorflow import keras", set()),
        ("x.__class__", set()),
    ],
)
def test_a_private_member_would_be_seen(source, found):
    assert foreign_private_members(ast.parse(source)) == found


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
