"""Merging of what blocks of rows give: few merges of each value, whatever the order."""

import math

from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.output.reporting import MergeAll


def merged(numbers: list[int], workers: int) -> tuple[int, int]:
    """The sum of the numbers, and how many values all merges went through."""
    gone_through = 0

    def merge(parts: list[list[int]]) -> list[int]:
        nonlocal gone_through
        together = [number for part in parts for number in part]
        gone_through += len(together)
        return together

    combine = MergeAll(merge)
    accumulators = []
    for worker in range(workers):
        accumulator = combine.create_accumulator()
        for number in numbers[worker::workers]:
            accumulator = combine.add_input(accumulator, [number])
        accumulators.append(accumulator)
    whole = combine.extract_output(combine.merge_accumulators(accumulators))
    return sum(whole), gone_through


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 3))
def test_every_value_is_merged_once(numbers, workers):
    assert merged(numbers, workers)[0] == sum(numbers)


def test_a_value_is_gone_through_as_often_as_the_logarithm_of_their_number():
    _, gone_through = merged(list(range(1000)), 1)
    assert gone_through <= 1000 * (math.log(1000, 4) + 2)
