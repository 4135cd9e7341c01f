"""A fingerprint of the code behind a component.

TFX's cache looks at inputs and parameters, not at code that is named by a dotted path. With this fingerprint among
the parameters, an edit re-runs the components that the edited module can influence, and no others.
"""

import dis
import functools
import hashlib
import importlib.util
import os
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

_PACKAGES = ("trainer_module", "components", "pipeline")
_IMPORT_NAME, _IMPORT_FROM = dis.opmap["IMPORT_NAME"], dis.opmap["IMPORT_FROM"]


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
        seen[name] = _read(spec.origin, state.st_mtime_ns, state.st_size)
        loads = _loads(name, spec.origin, state.st_mtime_ns, state.st_size)
        waiting += _parents(name) + loads.imports
        if spec.submodule_search_locations and loads.all_its_modules:
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


@dataclass(frozen=True)
class _Loads:
    """What a module loads.

    Attributes:
        imports: Dotted names of the product's modules that it imports, also inside functions.
        all_its_modules: Whether it is a package that finds its modules, as `trainer_module.registration` does for it.
    """

    imports: list[str]
    all_its_modules: bool


@functools.cache
def _loads(name: str, file: str, modified: int, size: int) -> _Loads:
    """Looks at a module's bytecode, which mostly lies in a file already: parsing the source takes ten times as long."""
    whole = SourceFileLoader(name, file).get_code(name)
    assert whole
    codes = list(_with_functions(whole))
    # Most functions import nothing.
    imports = [each for code in codes if any(map(_is_ours, code.co_names)) for each in _imports(code)]
    return _Loads(
        [each for each in imports if _is_ours(each) and _is_module(each)],
        any("__path__" in code.co_names for code in codes),
    )


def _with_functions(code: CodeType) -> Iterator[CodeType]:
    """The code of a module, and of all its functions and classes."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_functions(constant)


def _imports(code: CodeType) -> Iterator[str]:
    """Dotted names that the code imports.

    An instruction is a byte, with a byte of its argument behind it (https://docs.python.org/3.11/library/dis.html).
    `dis` would decode all arguments and line numbers, which again takes ten times as long.
    """
    module, argument = "", 0
    for operation, byte in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = argument << 8 | byte
        if operation == dis.EXTENDED_ARG:
            continue
        if operation == _IMPORT_NAME:
            module = code.co_names[argument]
            yield module
        elif operation == _IMPORT_FROM:
            # `from package import name` may name a module or something inside the package.
            yield f"{module}.{code.co_names[argument]}"
        argument = 0


def _is_ours(name: str) -> bool:
    return name.split(".")[0] in _PACKAGES


@functools.cache
def _is_module(name: str) -> bool:
    parent = importlib.util.find_spec(name.rpartition(".")[0]) if "." in name else None
    if parent is not None and parent.submodule_search_locations is None:
        return False
    return importlib.util.find_spec(name) is not None
