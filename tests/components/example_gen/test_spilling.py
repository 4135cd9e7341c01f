"""Rows that wait in files give the same examples as rows that wait in memory."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

from components.example_gen import executor, spilling
from components.example_gen.executor import runs_in_process
from components.example_gen.rows import Rows
from components.example_gen.spilling import IN_MEMORY, Aside, PutAside, got, of_value
from pipeline.beam import in_process_args

from .test_own_tables import described, ingest, shop  # noqa: F401 (a fixture)

LABEL = {"label": {"name": "plays"}}
RATING = {"task": "rating", "label_range": [0, 4], "interactions": LABEL}
SETTINGS = {
    "seen tokens, a plan, users gathered": {},
    "no plan": {"split": {"by": "random", "test_fraction": 0.3}},
    "a plan and nothing gathered": {**RATING, "split": "time"},
    "neighbours": {**RATING, "split": "random", "neighbours": 2},
}


def test_a_value_comes_back_as_often_as_it_is_asked_for(tmp_path):
    value = {"a": np.arange(3)}
    assert IN_MEMORY.put(value) is value
    assert got(value) is value
    element = Aside(str(tmp_path)).put(value)
    assert isinstance(element, PutAside)
    for _ in range(2):
        np.testing.assert_array_equal(got(element)["a"], value["a"])
    assert of_value(lambda found, add: found["a"].sum() + add)(element, 4) == 7


@pytest.mark.parametrize(
    ("args", "expected"), [((), True), (in_process_args(4), True), (("--runner=PortableRunner",), False)]
)
def test_a_cluster_keeps_its_own_elements(args, expected):
    assert runs_in_process(beam.Pipeline(argv=list(args)).runner) == expected


def files_of(artifact) -> dict[str, bytes]:
    root = Path(artifact.uri)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SETTINGS)
def test_examples_are_the_same_wherever_rows_wait(shop, tmp_path, monkeypatch, name):  # noqa: F811
    settings = described(shop, **SETTINGS[name])
    with monkeypatch.context() as as_on_a_cluster:
        as_on_a_cluster.setattr(executor, "runs_in_process", lambda _: False)
        in_memory = files_of(ingest(tmp_path / "memory", settings))
    put: list[type] = []
    write = spilling.pickle.dump

    def dump(value, *others):
        put.append(type(value))
        write(value, *others)

    monkeypatch.setattr(spilling.pickle, "dump", dump)
    in_files = files_of(ingest(tmp_path / "files", settings))
    assert Rows in put
    assert in_files == in_memory
