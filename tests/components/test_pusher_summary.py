import pytest

from components.pusher.summary import blessing_summary, package_versions


@pytest.mark.parametrize(
    ("blessed", "has_baseline", "hold_first_run", "push"),
    [
        (False, False, False, False),
        (False, True, False, False),
        (True, True, False, True),
        (True, True, True, True),
        (True, False, False, True),
        (True, False, True, False),
    ],
)
def test_only_blessed_models_are_pushed_and_a_first_one_may_wait(blessed, has_baseline, hold_first_run, push):
    verdict = blessing_summary(blessed, has_baseline, hold_first_run)
    assert verdict["push"] == push
    assert verdict["blessed"] == blessed


def test_reasons_tell_the_cases_apart():
    cases = [(False, False, False), (True, False, True), (True, False, False), (True, True, False)]
    assert len({blessing_summary(*case)["reason"] for case in cases}) == len(cases)


def test_package_versions_are_those_installed():
    assert package_versions()["tfx"] == "1.21.0"
