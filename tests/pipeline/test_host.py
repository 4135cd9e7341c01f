from dataclasses import replace

import pytest

from pipeline.host import Host, UnsupportedHost, check, this_host

DEBIAN_12 = Host("linux", "x86_64", "CPython", (3, 11), (2, 36))


def test_this_host_is_supported():
    check(this_host())


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (replace(DEBIAN_12, system="darwin", machine="arm64"), "darwin on arm64.*Linux virtual machine"),
        (replace(DEBIAN_12, machine="aarch64"), "linux on aarch64"),
        (replace(DEBIAN_12, python=(3, 12)), r"CPython 3\.12.*PYTHON=/path/to/python3\.11"),
        (replace(DEBIAN_12, implementation="PyPy"), r"PyPy 3\.11"),
        (replace(DEBIAN_12, glibc=(2, 31)), r"glibc 2\.31.*Ubuntu 22\.04"),
        (replace(DEBIAN_12, glibc=None), "another C library"),
    ],
)
def test_an_unsupported_host_gets_one_sentence_and_a_way_out(host, message):
    with pytest.raises(UnsupportedHost, match=message):
        check(host)
