import pytest

from pipeline.yaml_limits import check_limits
from trainer_module.errors import ConfigError


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_aliases_count_as_what_they_stand_for(monkeypatch):
    check_limits(laughs(4), "f.yaml")
    with pytest.raises(ConfigError, match=r"f.yaml, line 6: more than 100,000 values, .* RECSPAN_MAX_YAML_NODES"):
        check_limits(laughs(12), "f.yaml")
    monkeypatch.setenv("RECSPAN_MAX_YAML_NODES", "1000000")
    check_limits(laughs(6), "f.yaml")


def test_an_anchor_that_holds_itself():
    with pytest.raises(ConfigError, match=r"f.yaml, line 2: \*a holds itself"):
        check_limits("a: &a\n  b: *a\n", "f.yaml")


def test_deep_nesting():
    with pytest.raises(ConfigError, match="line 1: nested too deeply, more than 50 sections"):
        check_limits("[" * 100_000, "f.yaml")
    check_limits("a: " + "[" * 40 + "]" * 40, "f.yaml")


@pytest.mark.parametrize("text", ["", "a: 1", "a: [", "- *unknown", "a: &x 1\nb: *x", "&a [1]"])
def test_what_is_no_bomb_passes(text):
    check_limits(text, "f.yaml")
