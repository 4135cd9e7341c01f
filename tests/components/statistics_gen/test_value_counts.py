import pickle
from collections import Counter

import numpy as np
import pyarrow as pa

from components.statistics_gen import value_counts
from components.statistics_gen.value_counts import ValueCounts


def counts_of(values: list[bytes]) -> pa.StructArray:
    return pa.array(values, pa.large_binary()).value_counts()


def counted(*batches: list[bytes]) -> ValueCounts:
    counts = ValueCounts()
    for batch in batches:
        counts.add(counts_of(batch))
    return counts


def test_counts_of_batches_are_added_up():
    counts = counted([b"a", b"b", b"a"], [b"b", b"c"], [b"a"])
    assert counts.most_frequent(10) == [(b"a", 3), (b"b", 2), (b"c", 1)]
    assert counts.num_distinct() == 3


def test_the_larger_of_equally_frequent_values_comes_first():
    assert counted([b"a", b"c", b"b", b"\xff"]).most_frequent(3) == [(b"\xff", 1), (b"c", 1), (b"b", 1)]


def test_without_values_nothing_is_most_frequent():
    assert ValueCounts().most_frequent(3) == []
    assert ValueCounts().num_distinct() == 0


def test_counts_are_merged_with_those_of_another_worker():
    counts, other = counted([b"a", b"b"]), counted([b"b"], [b"c", b"b"])
    counts.merge(pickle.loads(pickle.dumps(other)))
    assert counts.most_frequent(1) == [(b"b", 3)]
    assert counts.num_distinct() == 3


def test_memory_holds_each_distinct_value_twice_at_most(monkeypatch):
    monkeypatch.setattr(value_counts, "_MIN_WAITING", 8)
    random, counts, expected = np.random.default_rng(0), ValueCounts(), Counter()
    for _ in range(100):
        batch = [b"%d" % number for number in random.integers(50, size=20)]
        counts.add(counts_of(batch))
        expected.update(batch)
        assert counts.num_held <= 2 * len(expected) + 8
    assert dict(counts.most_frequent(50)) == expected
