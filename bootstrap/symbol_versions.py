"""Adjusts two extension modules so that they load with an older glibc than their wheels declare.

The wheels of ml-metadata 1.21.0 and tensorflow-data-validation 1.21.0 are tagged for glibc 2.39, but their modules use
only a few symbols that are newer than glibc 2.34:

- Four C23 variants of `strto*`. The plain functions differ only for binary literals.
- `_ZSt21ios_base_library_initv`, which is referenced to force a link order and never called.
- `__cxa_call_terminate`, which is called only when a `noexcept` function throws.

This module rewrites the symbol table entries of these symbols in place, so that sizes and layout stay the same. The
structures are those of the ELF-64 specification and, for symbol versions, of the Linux Standard Base (chapter "Symbol
Versioning").
"""

import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# With this glibc or a newer one, the modules load without an adjustment.
GLIBC_OF_WHEELS = (2, 39)

_STRTO = {b"__isoc23_strtol", b"__isoc23_strtoul", b"__isoc23_strtoll", b"__isoc23_strtoull"}
_NEVER_CALLED = {b"_ZSt21ios_base_library_initv", b"__cxa_call_terminate"}
_OLDER_VERSION = {
    b"GLIBC_2.38": b"GLIBC_2.34",
    b"GLIBCXX_3.4.32": b"GLIBCXX_3.4.29",
    b"CXXABI_1.3.15": b"CXXABI_1.3.13",
}

_SHT_DYNSYM, _SHT_VERNEED, _SHT_VERSYM = 11, 0x6FFFFFFE, 0x6FFFFFFF
_SYMBOL_SIZE = 24
_STB_WEAK = 2
_VERSION_GLOBAL = 1


class UnknownFile(Exception):
    """A module is neither a known original nor a known adjusted file."""


@dataclass(frozen=True)
class Module:
    """An extension module that may be adjusted.

    Attributes:
        path: Relative to site-packages.
        original: SHA-256 of the file in its wheel.
        adjusted: SHA-256 after the adjustment.
    """

    path: str
    original: str
    adjusted: str


MODULES = (
    Module(
        "ml_metadata/metadata_store/pywrap/metadata_store_extension.so",
        "9817a2524d3cad1b3136e118aea97f24e269767c04d86aaa3be8aa71d8593c9c",
        "cd8b82f54efe02a96f22914da210d1fadd2b31d35e81354af668db4101ea3381",
    ),
    Module(
        "tensorflow_data_validation/pywrap/tensorflow_data_validation_extension.so",
        "9d167827edb20f0c9219f196cc882265f1d2ceb8eb71f3d7ce3f2a0cd1be56a7",
        "22708b63f22c33236cb644b3a269fe79d3bcdcaed6f314bad52867519705b7fa",
    ),
)


def adjust_modules(site_packages: Path, glibc: tuple[int, int], modules: tuple[Module, ...] = MODULES) -> list[Path]:
    """Adjusts the modules if the host is too old for them.

    Writes new files instead of changing existing ones, because the installer may have hard-linked them to its cache.

    Args:
        site_packages: Directory of the environment's packages.
        glibc: Version of the host's glibc.
        modules: Modules to adjust.

    Returns:
        The adjusted files; empty if the host is new enough or all modules are adjusted already.

    Raises:
        UnknownFile: The content of a file is unknown; nothing was changed.
    """
    if glibc >= GLIBC_OF_WHEELS:
        return []
    waiting = []
    for module in modules:
        path = site_packages / module.path
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest == module.original:
            waiting.append((path, module))
        elif digest != module.adjusted:
            raise UnknownFile(
                f"{path} has the unknown SHA-256 {digest}; expected the file of the locked wheel. Remove the "
                "environment's directory and run the command again."
            )
    for path, module in waiting:
        content = adjusted(path.read_bytes())
        digest = hashlib.sha256(content).hexdigest()
        if digest != module.adjusted:
            raise UnknownFile(f"adjusting {path} gave the unexpected SHA-256 {digest}")
        _replace(path, content)
    return [path for path, _ in waiting]


def adjusted(content: bytes) -> bytes:
    """Returns the content of a shared object with older symbol versions.

    Args:
        content: A 64-bit little-endian ELF file.

    Raises:
        UnknownFile: The content is not such a file.
    """
    if content[:6] != b"\x7fELF\x02\x01":
        raise UnknownFile("not a 64-bit little-endian ELF file")
    image = bytearray(content)
    sections = _sections(image)
    dynsym, versym, verneed = (_of_type(sections, t) for t in (_SHT_DYNSYM, _SHT_VERSYM, _SHT_VERNEED))
    names = _Names(image, sections[dynsym.link].offset)
    for index in range(dynsym.size // _SYMBOL_SIZE):
        at = dynsym.offset + index * _SYMBOL_SIZE
        name_offset, info = struct.unpack_from("<IB", image, at)
        name = names[name_offset]
        if name in _STRTO:
            struct.pack_into("<I", image, at, name_offset + len(b"__isoc23_"))
        elif name in _NEVER_CALLED:
            image[at + 4] = _STB_WEAK << 4 | info & 0xF
        else:
            continue
        struct.pack_into("<H", image, versym.offset + 2 * index, _VERSION_GLOBAL)
    for at, known in _needed_versions(image, verneed, names):
        (name_offset,) = struct.unpack_from("<I", image, at + 8)
        older = _OLDER_VERSION.get(names[name_offset])
        if older:
            struct.pack_into("<I", image, at, _elf_hash(older))
            struct.pack_into("<I", image, at + 8, known[older])
    return bytes(image)


@dataclass(frozen=True)
class _Section:
    type: int
    offset: int
    size: int
    link: int
    entries: int


class _Names:
    """String table: name by offset."""

    def __init__(self, image: bytearray, start: int):
        self._image = image
        self._start = start

    def __getitem__(self, offset: int) -> bytes:
        begin = self._start + offset
        return bytes(self._image[begin : self._image.index(0, begin)])


def _sections(image: bytearray) -> list[_Section]:
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count = struct.unpack_from("<HH", image, 0x3A)
    headers = (struct.unpack_from("<IIQQQQIIQQ", image, table + index * size) for index in range(count))
    return [_Section(type=h[1], offset=h[4], size=h[5], link=h[6], entries=h[7]) for h in headers]


def _of_type(sections: list[_Section], section_type: int) -> _Section:
    found = [section for section in sections if section.type == section_type]
    if len(found) != 1:
        raise UnknownFile(f"expected one section of type {section_type:#x}, found {len(found)}")
    return found[0]


def _needed_versions(image: bytearray, verneed: _Section, names: _Names) -> Iterator[tuple[int, dict[bytes, int]]]:
    """Yields the position of each version entry and the name offsets of all versions of the same library."""
    at = verneed.offset
    for _ in range(verneed.entries):
        _, count, _, first, step = struct.unpack_from("<HHIII", image, at)
        positions = []
        entry = at + first
        for _ in range(count):
            positions.append(entry)
            entry += struct.unpack_from("<I", image, entry + 12)[0]
        offsets = [struct.unpack_from("<I", image, position + 8)[0] for position in positions]
        known = {names[offset]: offset for offset in offsets}
        for position in positions:
            yield position, known
        at += step


def _elf_hash(name: bytes) -> int:
    """Computes the hash function of the System V ABI, chapter 5."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    shutil.copymode(path, name)
    os.replace(name, path)
