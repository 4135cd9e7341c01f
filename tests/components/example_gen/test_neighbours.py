"""Neighbours of ratings, by hand and against their definition."""

import numpy as np
from components.example_gen.neighbours import Neighbours, merge
from hypothesis import given
from hypothesis import strategies as st

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), unique=True, max_size=40)


def neighbours(pairs: list[tuple[int, int]], length: int) -> Neighbours:
    return Neighbours.of(*np.array(pairs, np.int64).reshape(-1, 2).T, length=length)


def columns(sample: Neighbours, pairs: list[tuple[int, int]], length: int) -> dict[str, list[set[int]]]:
    asked = sample.columns(*np.array(pairs, np.int64).reshape(-1, 2).T, length=length)
    return {name: [set(row) for row in lists.to_pylist()] for name, lists in asked.items()}


def test_a_rating_is_no_neighbour_of_itself():
    sample = neighbours([(1, 10), (1, 11), (2, 10)], 5)
    assert columns(sample, [(1, 10), (2, 11), (3, 99)], 5) == {
        "rated": [{11}, {10}, set()],
        "raters": [{2}, {1}, set()],
    }


def test_the_order_is_not_that_of_the_file():
    items = list(range(200))
    (drawn,) = columns(neighbours([(0, item) for item in items], 20), [(0, -1)], 20)["rated"]
    assert len(drawn) == 20 and 60 < np.mean(list(drawn)) < 140


@given(pairs=PAIRS, length=st.integers(1, 8))
def test_lists_are_full_and_right(pairs, length):
    known = set(pairs)
    asked = [(user, item) for user in range(6) for item in range(9)]
    answer = columns(neighbours(pairs, length), asked, length)
    for number, (user, item) in enumerate(asked):
        rated = {i for u, i in known if u == user and i != item}
        raters = {u for u, i in known if i == item and u != user}
        assert answer["rated"][number] <= rated and len(answer["rated"][number]) == min(length, len(rated))
        assert answer["raters"][number] <= raters and len(answer["raters"][number]) == min(length, len(raters))


@given(pairs=PAIRS, cut=st.integers(0, 40), length=st.integers(1, 4))
def test_samples_of_parts_merge_into_that_of_the_whole(pairs, cut, length):
    merged = merge([neighbours(part, length) for part in (pairs[:cut], pairs[cut:])], length)
    whole = neighbours(pairs, length)
    asked = [(user, item) for user in range(6) for item in range(9)]
    assert columns(merged, asked, length) == columns(whole, asked, length)
