"""Work beside the caller's: results and errors are those of calls one after another."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_gen.threads import Ahead, Behind
from trainer_module.errors import DataError


def doubled(numbers):
    for number in numbers:
        if number < 0:
            raise DataError(f"{number} is negative")
        yield 2 * number


def results(elements):
    ahead = Ahead(doubled)
    found = []
    try:
        for element in elements:
            found += ahead.add(element)
        found += ahead.end()
    except DataError as error:
        return found, str(error)
    return found, ""


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6))
def test_results_come_in_the_order_of_the_elements(elements):
    assert results(elements) == ([2 * number for element in elements for number in element], "")


def test_an_error_comes_as_it_was_raised_after_the_results_before_it():
    assert results([[1, 2], [3, -1], [4]]) == ([2, 4, 6], "-1 is negative")


def test_an_element_is_begun_before_the_results_of_the_one_before_it_are_taken():
    begun = threading.Event()

    def wait(element):
        if element == "second":
            begun.set()
        yield begun.wait(30)

    ahead = Ahead(wait)
    assert list(ahead.add("first")) == []
    assert list(ahead.add("second")) == [True]
    assert list(ahead.end()) == [True]


def test_calls_are_made_one_after_another_while_the_caller_goes_on():
    behind, made, go_on = Behind(), [], threading.Event()
    behind.call(lambda number: made.append((number, go_on.wait(30))), 1)
    assert made == []
    go_on.set()
    behind.call(made.append, 2)
    behind.wait()
    assert made == [(1, True), 2]


@pytest.mark.parametrize("then", ["call", "wait"])
def test_the_error_of_a_call_is_raised_by_the_next(then):
    def fail():
        raise DataError("the disk is full")

    behind = Behind()
    behind.call(fail)
    with pytest.raises(DataError, match="the disk is full"):
        behind.wait() if then == "wait" else behind.call(print)


def test_no_call_outlives_its_end():
    behind, made = Behind(), []
    behind.call(lambda: time.sleep(0.2) or made.append(1))
    behind.end()
    assert made == [1]
