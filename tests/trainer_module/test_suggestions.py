from hypothesis import given
from hypothesis import strategies as st

from trainer_module.suggestions import did_you_mean, nearest

NAMES = ("adam", "adagrad", "sgd")


def test_the_nearest_name_is_found_whatever_its_case():
    assert nearest("ADAMM", NAMES) == "adam"
    assert did_you_mean("adagrd", NAMES) == "Did you mean adagrad? "


def test_a_name_that_resembles_none_may_get_no_suggestion():
    assert did_you_mean("xyz", NAMES, always=False) == ""
    assert did_you_mean("xyz", ()) == ""


@given(st.text(max_size=10))
def test_a_suggestion_is_always_a_known_name(name):
    assert nearest(name, NAMES) in NAMES
