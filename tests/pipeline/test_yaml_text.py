import pytest

from pipeline.yaml_text import parse_yaml, read_yaml_file
from trainer_module.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3", "x.yaml, line 3, column 2: not valid YAML"),
        ("a:\n\tb: 1", "x.yaml, line 2, column 1: not valid YAML"),
        ("a: *b", "x.yaml, line 1, column 4: not valid YAML, found undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "x.yaml, line 1, column 4: not valid YAML, could not determine"),
        ("a: 1\nb: 2020-13-45", "x.yaml, line 2, column 4: not valid YAML, a wrong value: month must be in 1..12"),
        ("a: " + "9" * 5000, "x.yaml, line 1, column 4: not valid YAML, a number of more than 4,300 digits"),
        ("a: " + "[" * 2000 + "]" * 2000, "x.yaml: nested too deeply"),
        ("a: 1\nb: \x01", "x.yaml, line 2: not valid YAML, the character #x0001 is not allowed"),
        ("[1, 2]: 3", "x.yaml, line 1, column 1: not valid YAML, while constructing a mapping"),
    ],
)
def test_what_is_no_yaml_is_said_in_a_line_with_its_place(text, message):
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "x.yaml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_bytes_that_are_not_utf8_have_a_line(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"x\.yaml, line 2: not text in UTF-8"):
        read_yaml_file(file)


@pytest.mark.parametrize(("name", "reason"), [("", "is a directory"), ("no", "no such file"), ("a\0b", "NUL byte")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, reason):
    with pytest.raises(ConfigError, match=reason):
        read_yaml_file(tmp_path / name)
