import hashlib
import os
import struct
import sysconfig
from pathlib import Path

import pytest

from bootstrap.symbol_versions import MODULES, Module, UnknownFile, adjust_modules, adjusted

OLD_HOST, NEW_HOST = (2, 36), (2, 39)
SYMBOLS = ["", "__isoc23_strtol", "_ZSt21ios_base_library_initv", "__cxa_call_terminate", "malloc"]
VERSIONS = {"libc.so.6": ["GLIBC_2.34", "GLIBC_2.38"], "libstdc++.so.6": ["GLIBCXX_3.4.29", "GLIBCXX_3.4.32"]}
GLOBAL_BINDING, WEAK_BINDING = 1, 2


def elf_file() -> bytes:
    """The four sections that symbol versions live in, and nothing else."""
    strings = b"\0".join(s.encode() for s in SYMBOLS + [n for lib, v in VERSIONS.items() for n in (lib, *v)]) + b"\0"

    def at(text: str) -> int:
        return strings.index(b"\0" + text.encode() + b"\0") + 1 if text else 0

    dynsym = b"".join(struct.pack("<IBBHQQ", at(s), GLOBAL_BINDING << 4 | 2, 0, 0, 0, 0) for s in SYMBOLS)
    versym = struct.pack("<5H", 0, 3, 4, 4, 2)
    verneed = b""
    for number, (library, versions) in enumerate(VERSIONS.items()):
        last_library = number == len(VERSIONS) - 1
        verneed += struct.pack("<HHIII", 1, 2, at(library), 16, 0 if last_library else 16 + 2 * 16)
        for index, version in enumerate(versions):
            verneed += struct.pack("<IHHII", 0xBAD, 0, 2 + index, at(version), 16 if index == 0 else 0)
    bodies = [(3, strings, 0, 0), (11, dynsym, 1, 0), (0x6FFFFFFF, versym, 2, 0), (0x6FFFFFFE, verneed, 1, 2)]
    content, headers = bytes(64), struct.pack("<IIQQQQIIQQ", *[0] * 10)
    for section_type, body, link, info in bodies:
        headers += struct.pack("<IIQQQQIIQQ", 0, section_type, 0, 0, len(content), len(body), link, info, 0, 0)
        content += body
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    # e_shoff at 0x28, e_shentsize and e_shnum at 0x3a.
    header = identity + bytes(0x28 - 16) + struct.pack("<Q", len(content)) + bytes(10) + struct.pack("<3H", 64, 5, 1)
    return header + content[64:] + headers


@pytest.fixture
def environment(tmp_path: Path) -> tuple[Path, Path, Module]:
    """Site-packages with one module, hard-linked to an installer's cache, and what is known of it."""
    cached = tmp_path / "cache.so"
    cached.write_bytes(elf_file())
    site_packages = tmp_path / "site-packages"
    site_packages.mkdir()
    os.link(cached, site_packages / "module.so")
    return site_packages, cached, Module("module.so", digest(elf_file()), digest(adjusted(elf_file())))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_too_new_symbols_are_rewritten_and_nothing_else():
    before, after = elf_file(), adjusted(elf_file())
    assert len(after) == len(before)
    dynsym = before.index(struct.pack("<IBBHQQ", 0, GLOBAL_BINDING << 4 | 2, 0, 0, 0, 0))
    names, bindings = [], []
    for index in range(len(SYMBOLS)):
        name_offset, info = struct.unpack_from("<IB", after, dynsym + 24 * index)
        names.append(after[64 + name_offset : after.index(0, 64 + name_offset)].decode())
        bindings.append(info >> 4)
    assert names == ["", "strtol", *SYMBOLS[2:]]
    assert bindings == [GLOBAL_BINDING, GLOBAL_BINDING, WEAK_BINDING, WEAK_BINDING, GLOBAL_BINDING]
    versym = dynsym + 24 * len(SYMBOLS)
    assert struct.unpack_from("<5H", after, versym) == (0, 1, 1, 1, 2)
    changed = [index for index, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert min(changed) >= dynsym


def test_too_new_versions_become_older_ones_of_the_same_library():
    after = adjusted(elf_file())
    # The hashes of the System V ABI: `objdump -p libc.so.6` shows 0x069691b4 for GLIBC_2.34.
    assert struct.pack("<I", 0x069691B4) in after
    assert after.count(struct.pack("<I", 0xBAD)) == 2
    # Each too new entry now has the name offset of the older one beside it.
    entries = after.index(struct.pack("<IHH", 0xBAD, 0, 2))
    for library in range(2):
        older, newer = entries + library * 48, entries + library * 48 + 16
        assert after[newer + 8 : newer + 12] == after[older + 8 : older + 12]


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_64_bit_elf_file_is_refused(content):
    with pytest.raises(UnknownFile, match="ELF"):
        adjusted(content)


def test_an_unknown_file_is_refused_and_left_alone(environment):
    site_packages, _, module = environment
    other = site_packages / "other.so"
    other.write_bytes(b"something else")
    with pytest.raises(UnknownFile, match=r"other\.so has the unknown SHA-256"):
        adjust_modules(site_packages, OLD_HOST, (module, Module("other.so", "0" * 64, "1" * 64)))
    assert other.read_bytes() == b"something else"
    assert (site_packages / "module.so").read_bytes() == elf_file()


def test_a_new_file_takes_the_place_of_the_linked_one(environment):
    site_packages, cached, module = environment
    path = site_packages / "module.so"
    path.chmod(0o755)
    assert adjust_modules(site_packages, OLD_HOST, (module,)) == [path]
    assert digest(path.read_bytes()) == module.adjusted
    assert cached.read_bytes() == elf_file()
    assert path.stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in site_packages.iterdir()) == ["module.so"]


def test_an_unexpected_result_is_not_written(environment):
    site_packages, _, module = environment
    with pytest.raises(UnknownFile, match="unexpected SHA-256"):
        adjust_modules(site_packages, OLD_HOST, (Module(module.path, module.original, "0" * 64),))
    assert (site_packages / "module.so").read_bytes() == elf_file()


def test_a_second_time_changes_nothing(environment):
    site_packages, _, module = environment
    adjust_modules(site_packages, OLD_HOST, (module,))
    inode = (site_packages / "module.so").stat().st_ino
    assert adjust_modules(site_packages, OLD_HOST, (module,)) == []
    assert (site_packages / "module.so").stat().st_ino == inode


def test_a_newer_host_is_left_untouched(environment):
    site_packages, _, module = environment
    assert adjust_modules(site_packages, NEW_HOST, (module,)) == []
    assert (site_packages / "module.so").read_bytes() == elf_file()


def test_the_installed_modules_are_known():
    site_packages = Path(sysconfig.get_path("platlib"))
    for module in MODULES:
        assert digest((site_packages / module.path).read_bytes()) in (module.original, module.adjusted)
