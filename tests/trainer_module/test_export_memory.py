"""Forecasts that a reader can add up, and what the kernel says of memory."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from trainer_module.data.features import Categorical, FeatureSpec, Label, Table
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.export.config import ExportConfig
from trainer_module.export.forecast import (
    WORKING_BYTES,
    Forecast,
    quantized_bytes,
    slot_bytes,
    subset_tables,
    table_bytes,
)
from trainer_module.export.memory import PeakMemory, available_bytes, resident_bytes
from trainer_module.optimizers.config import Adagrad, Adam, Sgd
from trainer_module.training.config import TrainingConfig

SPEC = FeatureSpec(
    columns=(Categorical(name="user", table="user"), Categorical(name="item", table="item"), Label(name="rating")),
    tables=(Table(name="user"), Table(name="item", dim=8, optimizer=Sgd(learning_rate=0.1))),
)
ROWS = {"user": 1000, "item": 50}
KB = 1024


def test_tables_and_slots_add_up():
    tables = table_bytes(SPEC, ROWS, EmbeddingsConfig(dim=16))
    assert tables == {"user": 1000 * 16 * 4, "item": 50 * 8 * 4}
    # the item table has an optimizer of its own, without slots
    assert slot_bytes(SPEC, tables, TrainingConfig(embedding_optimizer=Adam(learning_rate=0.1))) == 2 * 64_000
    assert slot_bytes(SPEC, tables, TrainingConfig(embedding_optimizer=Adagrad(learning_rate=0.1))) == 64_000
    assert subset_tables(SPEC, ("item",)) == {"item"}


def test_the_copy_is_chosen_if_it_fits():
    need = WORKING_BYTES + 5_000
    fits, too_large = (Forecast(5_000, 10_000, 700, available) for available in (need, need - 1))
    auto = ExportConfig()
    assert fits.choose(auto, model_lives_here=True) == "checkpoint"
    assert too_large.choose(auto, model_lives_here=True) == "direct"
    assert too_large.choose(auto, model_lives_here=False) == "checkpoint"
    assert too_large.choose(ExportConfig(route="checkpoint"), model_lives_here=True) == "checkpoint"
    assert too_large.choose(ExportConfig(quantize="int8"), model_lives_here=True) == "checkpoint"
    assert fits.peak_bytes("checkpoint") - fits.peak_bytes("direct") == 5_000
    assert fits.peak_bytes("direct") == 700 + WORKING_BYTES


def test_int8_rows_are_made_beside_the_copy():
    quantized = quantized_bytes(SPEC, ROWS, EmbeddingsConfig(dim=16))
    assert quantized == {"user": 1000 * (16 + 4), "item": 50 * (8 + 4)}
    forecast = Forecast(64_000, 0, 700, 10**9, quantized_bytes=20_000)
    assert forecast.peak_bytes("checkpoint") == 700 + WORKING_BYTES + 84_000


def test_a_forecast_is_told_in_one_line():
    line = Forecast(4_000_000_000, 8_000_000_000, 13_000_000_000, 2_000_000_000).describe("direct")
    assert line == (
        "export by route direct: tables 4.00 GB, optimizer slots 8.00 GB (left behind), resident 13.00 GB, "
        "available 2.00 GB; forecast peak 13.13 GB"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"route": "subset"}, "needs export.features"),
        ({"route": "direct", "features": ("user",)}, "the route is direct"),
        ({"features": ("user",)}, "the route is auto"),
        ({"route": "copy"}, "Input should be"),
        ({"route": "direct", "quantize": "int8"}, "route direct makes none; take auto or checkpoint"),
        ({"quantize": "int4"}, "Input should be 'int8'"),
    ],
)
def test_a_contradiction_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        ExportConfig(**values)


def machine(root: Path, groups: str) -> tuple[Path, Path]:
    """A `/proc` with 8000 kB available and an empty `/sys/fs/cgroup`."""
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroups.mkdir()
    (proc / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  8000 kB\n")
    (proc / "self/cgroup").write_text(groups)
    return proc, cgroups


def group(root: Path, names: tuple[str, str, str], limit: str, used: int, cached: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / names[0]).write_text(limit)
    (root / names[1]).write_text(str(used))
    (root / "memory.stat").write_text(f"anon {used - cached}\n{names[2]} {cached}\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


def test_without_limits_the_machine_decides(tmp_path):
    assert available_bytes(*machine(tmp_path, "0::/\n")) == 8000 * KB


@pytest.mark.parametrize(
    ("line", "where", "names"), [("0::/a/b\n", "", V2), ("4:cpu,memory:/a/b\n", "memory", V1)], ids=["v2", "v1"]
)
def test_the_tightest_group_decides(tmp_path, line, where, names):
    proc, cgroups = machine(tmp_path, line)
    group(cgroups / where / "a/b", names, "900000", used=500_000, cached=300_000)
    assert available_bytes(proc, cgroups) == 900_000 - 500_000 + 300_000
    group(cgroups / where / "a", names, "800000", used=600_000, cached=100_000)
    assert available_bytes(proc, cgroups) == 300_000


def test_a_group_without_limit_and_a_container_that_is_its_own_root(tmp_path):
    proc, cgroups = machine(tmp_path, "0::/seen/from/the/host\n")
    group(cgroups, V2, "max\n", used=1, cached=0)
    assert available_bytes(proc, cgroups) == 8000 * KB
    group(cgroups, V2, "1000\n", used=999, cached=0)
    assert available_bytes(proc, cgroups) == 1


def test_the_peak_is_seen_though_it_has_passed():
    earlier = np.ones(80 << 17)
    del earlier
    with PeakMemory() as memory:
        passing = np.ones(40 << 17)
        del passing
    assert memory.peak_bytes is not None
    # 40 MiB of numbers, not the 80 MiB from before
    assert 39 << 20 <= memory.peak_bytes - memory.before_bytes < 70 << 20
    assert resident_bytes() < memory.peak_bytes
