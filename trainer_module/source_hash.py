"""A fingerprint of the code behind a component.

TFX's cache looks at inputs and parameters, not at code that is named by a dotted path. With this fingerprint among
the parameters, an edit re-runs the components that the edited module can influence, and no others.
"""

import ast
import functools
import hashlib
import importlib.util
import os
import pkgutil
from pathlib import Path

_PACKAGES = ("trainer_module", "components", "pipeline")


def source_hash(*modules: str) -> str:
    """SHA-256 over the sources of modules and of all the product's modules that they import, directly or not.

    Args:
        modules: Dotted names.
    """
    seen: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no source for module {name}")
        state = os.stat(spec.origin)
        source = _read(spec.origin, state.st_mtime_ns, state.st_size)
        seen[name] = source
        waiting += _parents(name) + _imports(source)
        if spec.submodule_search_locations and _finds_its_modules(source):
            waiting += [f"{name}.{module.name}" for module in pkgutil.iter_modules(spec.submodule_search_locations)]
    digest = hashlib.sha256()
    for name, source in sorted(seen.items()):
        digest.update(name.encode() + hashlib.sha256(source).digest())
    return digest.hexdigest()


@functools.cache
def _read(file: str, modified: int, size: int) -> bytes:
    """A source, read again if it has changed."""
    return Path(file).read_bytes()


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


@functools.cache
def _imports(source: bytes) -> list[str]:
    """Dotted names of the product's modules that a source imports; several components ask for the same sources."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import name` may name a module or something inside the package.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name for name in names if name.split(".")[0] in _PACKAGES]
    return [name for name in ours if _is_module(name)]


@functools.cache
def _finds_its_modules(source: bytes) -> bool:
    """Whether a package imports all its modules, as `trainer_module.registration` does for it."""
    return any(isinstance(node, ast.Name) and node.id == "__path__" for node in ast.walk(ast.parse(source)))


@functools.cache
def _is_module(name: str) -> bool:
    parent = importlib.util.find_spec(name.rpartition(".")[0]) if "." in name else None
    if parent is not None and parent.submodule_search_locations is None:
        return False
    return importlib.util.find_spec(name) is not None
