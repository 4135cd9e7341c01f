import pyarrow.compute as pc
import pyarrow.csv
import pytest

from components.example_gen.generated.days import COUNTRIES, write_synthetic_days
from trainer_module.errors import ConfigError


def read(directory, day: int):
    return pyarrow.csv.read_csv(directory / f"2024-05-{day:02}.csv")


def test_days_grow_and_one_differs(tmp_path):
    assert len(write_synthetic_days(tmp_path, 5, 2000, drift_on=4)) == 5
    days = {day: read(tmp_path, day) for day in range(1, 6)}
    for name in ("user", "item"):
        first, last = (pc.unique(days[day][name]).to_pylist() for day in (1, 5))
        assert len(set(last) - set(first)) > 50
    clicks = [pc.mean(day["clicked"]).as_py() for day in days.values()]
    assert max(clicks) - min(clicks) < 0.05
    for day, rows in days.items():
        spelt = sum(country in COUNTRIES for country in rows["country"].to_pylist()) / len(rows)
        assert spelt == 1 if day != 4 else 0.4 < spelt < 0.6
        assert (pc.mean(rows["price"]).as_py() > 200) == (day == 4)


def test_days_that_are_there_stay_as_they_are(tmp_path):
    write_synthetic_days(tmp_path, 2, 1000, drift_on=None)
    first = (tmp_path / "2024-05-01.csv").read_bytes()
    assert [file.name for file in write_synthetic_days(tmp_path, 3, 1000, drift_on=None)] == ["2024-05-03.csv"]
    assert (tmp_path / "2024-05-01.csv").read_bytes() == first
    write_synthetic_days(tmp_path / "again", 3, 1000, drift_on=None)
    # Days do not depend on how many there are.
    for day in (1, 2, 3):
        name = f"2024-05-{day:02}.csv"
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_day_that_is_not_there_cannot_drift(tmp_path):
    with pytest.raises(ConfigError, match="--drift-on 6"):
        write_synthetic_days(tmp_path, 5, 1000, drift_on=6)
