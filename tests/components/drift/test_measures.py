"""Measures against arithmetic by hand, and what holds for any two distributions."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.drift.measures import (
    LEAST_COUNT,
    MISSING,
    align,
    chance,
    jensen_shannon,
    l_infinity,
    label_shift,
)
from components.drift.measures import new_tokens as share_of_new_tokens
from components.drift.profile import Numbers, Tokens, profile_of


def tokens(missing: int = 0, **counts: int) -> Tokens:
    return Tokens(
        pa.array([name.encode() for name in counts], pa.large_binary()), np.array([*counts.values()]), missing
    )


def numbers(*values: float, missing: int = 0) -> Numbers:
    lists = [[value] for value in values] + [[]] * missing
    batch = pa.record_batch({"x": pa.array(lists, pa.large_list(pa.float32()))})
    column = profile_of([batch], {"x": "numbers"}).columns["x"]
    assert isinstance(column, Numbers)
    return column


def test_tokens_are_compared_by_their_shares():
    aligned = align(tokens(us=60, de=40), tokens(us=10, fr=10, missing=20))
    assert [aligned.names[number] for number in range(4)] == ["us", "de", "fr", MISSING]
    assert aligned.shares[0].tolist() == [0.6, 0.4, 0, 0]
    assert aligned.shares[1].tolist() == [0.25, 0, 0.25, 0.5]
    assert l_infinity(aligned) == (0.5, 3)
    assert share_of_new_tokens(aligned) == 0.5


def test_distributions_without_a_common_value_are_one_bit_apart():
    assert jensen_shannon(align(tokens(a=100), tokens(b=70, c=30))) == pytest.approx(1)


def test_the_divergence_is_that_of_the_formula():
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4).
    expected = 0.5 * (0.5 * np.log2(2 / 3) + 0.5 * np.log2(2)) + 0.5 * np.log2(4 / 3)
    assert jensen_shannon(align(tokens(a=50, b=50), tokens(a=100))) == pytest.approx(expected)


def test_a_long_tail_of_rare_tokens_is_no_divergence():
    old, new = ({f"{side}{n}": LEAST_COUNT - 1 for n in range(200)} for side in ("x", "y"))
    aligned = align(tokens(**old), tokens(**new))
    assert jensen_shannon(aligned) == 0
    assert share_of_new_tokens(aligned) == 1


def test_numbers_are_compared_by_the_quantiles_of_the_earlier_ones():
    aligned = align(numbers(*range(100)), numbers(*range(1000, 1100)))
    share, worst = l_infinity(aligned)
    assert share == 1
    assert aligned.names[worst] == "above 99"
    assert jensen_shannon(aligned) == pytest.approx(1)
    same = align(numbers(*range(100)), numbers(*range(100)))
    assert l_infinity(same)[0] == 0


@pytest.mark.parametrize(
    ("earlier", "newer", "worst"),
    [((0, 0, 1, 1), (0, 0, 0, 1), "1"), ((0, 0, 0), (0, 0, 1), "0"), ((5, 5), (4, 4), "below 5"), ((5,), (), MISSING)],
)
def test_few_values_have_a_bin_each(earlier, newer, worst):
    aligned = align(numbers(*earlier), numbers(*newer, missing=2))
    before, after = aligned.shares
    known = {aligned.names[n]: round(float(after[n] - before[n]), 3) for n in range(len(before))}
    assert worst in known and known[worst] != 0 and known[MISSING] > 0


def test_numbers_where_there_were_none_are_found():
    assert l_infinity(align(numbers(missing=3), numbers(1, 2, 3)))[0] == 1


def test_the_label_moves_by_its_own_deviations():
    assert label_shift(numbers(0, 0, 1, 1), numbers(1, 1)) == pytest.approx(1)
    assert label_shift(numbers(1, 1), numbers(1, 1)) is None


@pytest.mark.parametrize("measure", ["l_infinity", "jensen_shannon", "label_shift"])
def test_chance_covers_two_samples_of_one_distribution(measure):
    random = np.random.default_rng(0)
    values = {"l_infinity": lambda a: l_infinity(a)[0], "jensen_shannon": jensen_shannon}
    for _ in range(50):
        draws = [random.binomial(1, 0.3, size) for size in (500, 300)]
        samples = [tokens(a=int(draw.sum()), b=int((1 - draw).sum())) for draw in draws]
        aligned = align(*samples)
        value = (
            label_shift(*(numbers(*draw) for draw in draws)) if measure == "label_shift" else values[measure](aligned)
        )
        assert value is not None and value < chance(measure, aligned) * (3 if measure == "jensen_shannon" else 1)


@pytest.mark.parametrize(("earlier_size", "newer_size"), [(1, 300), (40, 300), (300, 1), (2000, 300)])
def test_chance_covers_the_tokens_that_a_small_sample_does_not_have(earlier_size, newer_size):
    """A long tail: 100 tokens, each half as frequent as the one of half its rank."""
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, 101)
    for _ in range(50):
        samples = []
        for size in (earlier_size, newer_size):
            drawn = random.choice(100, size, p=shares / shares.sum())
            counted = zip(*np.unique(drawn, return_counts=True), strict=True)
            samples.append(tokens(**{f"t{value}": int(number) for value, number in counted}))
        aligned = align(*samples)
        assert share_of_new_tokens(aligned) <= chance("new_tokens", aligned)


counts = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 1000), min_size=1)


@given(counts, counts, st.integers(0, 50))
def test_what_holds_for_any_tokens(earlier, newer, missing):
    old, new = tokens(**earlier), tokens(missing, **newer)
    there, back = align(old, new), align(new, old)
    assert there.earlier.sum() == old.total and there.newer.sum() == new.total
    assert 0 <= jensen_shannon(there) <= 1 + 1e-9
    assert jensen_shannon(there) == pytest.approx(jensen_shannon(back))
    assert 0 <= l_infinity(there)[0] == pytest.approx(l_infinity(back)[0])
    assert 0 <= share_of_new_tokens(there) <= 1
    assert l_infinity(align(old, old))[0] == 0


some = st.lists(st.floats(-1e6, 1e6, width=32), max_size=40)


@given(some, some)
def test_what_holds_for_any_numbers(earlier, newer):
    old, new = numbers(*earlier, missing=1), numbers(*newer, missing=1)
    aligned = align(old, new)
    assert aligned.earlier.sum() == pytest.approx(len(earlier) + 1)
    assert aligned.newer.sum() == pytest.approx(len(newer) + 1)
    assert len(aligned.earlier) == len(aligned.names.of) + 1
    assert 0 <= jensen_shannon(aligned) <= 1 + 1e-9
    assert l_infinity(align(old, old))[0] == 0
