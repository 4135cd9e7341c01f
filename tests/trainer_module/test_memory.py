import os
from pathlib import Path

import pytest

from trainer_module.errors import ConfigError
from trainer_module.memory import ENVIRONMENT, GIGABYTE, MemoryBudget, budget, check, machine_bytes, stated


def machine(root: Path, groups: str) -> tuple[Path, Path]:
    """A `/proc` of a machine with 8000 kB, and an empty `/sys/fs/cgroup`."""
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroups.mkdir()
    (proc / "meminfo").write_text("MemTotal: 8000 kB\nMemFree: 10 kB\n")
    (proc / "self/cgroup").write_text(groups)
    return proc, cgroups


def test_without_groups_it_is_the_machines_memory(tmp_path):
    assert machine_bytes(*machine(tmp_path, "0::/a/b\n")) == 8000 * 1024


@pytest.mark.parametrize(
    ("line", "where", "name"),
    [
        ("0::/a/b\n", "", "memory.max"),
        ("5:cpu,memory:/a/b\n0::/\n", "memory", "memory.limit_in_bytes"),
    ],
)
def test_the_least_limit_of_a_group_and_its_ancestors_counts(tmp_path, line, where, name):
    proc, cgroups = machine(tmp_path, line)
    for group, limit in (("a/b", str(2**63 - 4096) if where else "max"), ("a", "700000")):
        (cgroups / where / group).mkdir(parents=True, exist_ok=True)
        (cgroups / where / group / name).write_text(limit)
    assert machine_bytes(proc, cgroups) == 700_000


def test_a_container_that_sees_its_group_as_the_root(tmp_path):
    proc, cgroups = machine(tmp_path, "0::/of/the/host\n")
    (cgroups / "memory.max").write_text("600000")
    assert machine_bytes(proc, cgroups) == 600_000


def test_the_default_is_a_share_of_the_machine():
    assert 0 < budget({}).total < machine_bytes()


def test_rows_get_what_the_frameworks_leave():
    one = MemoryBudget(12 * GIGABYTE)
    assert one.for_rows == 10 * GIGABYTE
    assert 0 < one.evaluation_cache < one.training_cache < one.for_rows
    assert MemoryBudget(GIGABYTE).training_cache == 0


@pytest.mark.parametrize("gigabytes", [0, -1, 0.5, float("nan"), float("-inf")])
def test_too_little_is_refused(gigabytes):
    with pytest.raises(ConfigError, match=r"^--memory-gb: .* GB is too little; .* Give at least 2.5"):
        check(gigabytes, "--memory-gb")


@pytest.mark.parametrize("gigabytes", [1e6, float("inf")])
def test_more_than_the_machine_has_is_refused(gigabytes):
    with pytest.raises(ConfigError, match=r"is more than the .* GB that this machine"):
        check(gigabytes, "--memory-gb")


@pytest.mark.parametrize("text", ["much", "-3", ""])
def test_nonsense_in_the_environment_is_refused(text):
    with pytest.raises(ConfigError, match=f"^{ENVIRONMENT}"):
        budget({ENVIRONMENT: text})


def test_a_stated_budget_lasts_as_long_as_the_run(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with stated(2.5):
        assert budget().total == int(2.5 * GIGABYTE)
        with stated(None):
            assert budget().total == int(2.5 * GIGABYTE)
    assert ENVIRONMENT not in os.environ
    monkeypatch.setenv(ENVIRONMENT, "3")
    with pytest.raises(ValueError, match="over"), stated(2.5):
        raise ValueError("over")
    assert os.environ[ENVIRONMENT] == "3"
