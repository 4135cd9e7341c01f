"""What YAML would read as something that nobody means is refused, with key, line, and what was found."""

from pathlib import Path

import pytest

from pipeline.config import load_config, parse_assignments
from pipeline.yaml_text import parse_yaml, read_yaml_file
from trainer_module.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("a: 1_000", {"a": 1000}),
        ("a: [0, -1, 0x10, 1.5]", {"a": [0, -1, 16, 1.5]}),
        ("a: ['010', '1:30']", {"a": ["010", "1:30"]}),
        ("a: 2024-05-01", {"a": "2024-05-01"}),
        ("a: 2030-01-31T03:00:00+00:00", {"a": "2030-01-31T03:00:00+00:00"}),
        ("a: &x {b: 1}\nc: {<<: *x, b: 2}", {"a": {"b": 1}, "c": {"b": 2}}),
        ("a: &x [1]\nb: [*x, *x]", {"a": [1], "b": [[1], [1]]}),
        ("'on': 1", {"on": 1}),
    ],
)
def test_what_people_mean_is_read(text, expected):
    assert parse_yaml(text, "e.yaml") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 1", "e.yaml, line 3: a stands twice, first in line 1"),
        ("a:\n  b: 1\n  c: 2\n  'b': 3", r"e.yaml, line 4: a\.b stands twice, first in line 2"),
        ("a:\n- {b: 1, b: 1}", r"e.yaml, line 2: a\.b stands twice, first in line 2"),
        ("a:\n  b: 010", r"line 2: a\.b: YAML reads 010 as the octal number 8; expected a decimal number"),
        ("a: [1, -0_7]", "line 1: a: YAML reads -0_7 as the octal number -7"),
        ("a: 1:30", "line 1: a: YAML reads 1:30 as a number in base 60; expected a decimal number, found one with col"),
        ("a: 1:30:00.5", "line 1: a: YAML reads 1:30:00.5 as a number in base 60"),
        ("on: 1", "line 1: YAML reads the key 'on' as bool, and a name is expected; put it in quotes"),
        ("a:\n  7: x", "line 2: YAML reads the key '7' in section a as int"),
        ("? [a]\n: 1", "line 1: a key is a list or a section; expected a name"),
        ("a: [", "e.yaml, line 1, column 5: not valid YAML"),
    ],
)
def test_what_nobody_means_is_refused_with_its_line(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "e.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {epochs: true}", r"training\.epochs: expected a number, found a boolean .*, got True"),
        ("training: {clip_norm: yes}", r"training\.clip_norm: expected a number, found a boolean"),
        ("model: {mlp: [8, true]}", r"model\.mlp: expected a number, found a boolean"),
        ("training: {profile_steps: [true, 2]}", r"training\.profile_steps: expected a number, found a boolean"),
        (
            "training: {dense_optimizer: {name: adam, learning_rate: on}}",
            r"dense_optimizer\.learning_rate: expected a number, found a boolean",
        ),
        (
            "embeddings: {sparse_core: {max_ids_per_table: {user: true}}}",
            r"max_ids_per_table: expected a number, found a boolean",
        ),
        ("cache: 1", "cache: expected true or false, found a number, got 1"),
        ("training: {clip_norm: .inf}", r"training\.clip_norm: expected a finite number, got inf"),
        ("training: {clip_norm: 1e999}", r"training\.clip_norm: .*finite number"),
        (
            "data: {dataset: synthetic, label_range: [.nan, 5]}",
            r"label_range: expected a finite number, got \[nan, 5\]",
        ),
        ("training: {profile_steps: [5, 2]}", r"profile_steps: \[5, 2\] is no range of steps"),
        ("model: {mlp: [8, 0]}", r"model\.mlp\.1: .*at least 1, got 0"),
        (
            "data: {dataset: synthetic, split: {by: column, column: f, train: a, eval: b, test: a}}",
            "train, eval and test need values of their own, got 'a', 'b', 'a'",
        ),
        (
            "data: {dataset: synthetic, split: {by: column, column: f, train: ' '}}",
            "' ' is no value that a row can have",
        ),
        (
            "training: {dense_optimizer: {name: adam, learning_rate: {peak: 0.1, floor: 0.2}}}",
            r"floor 0\.2 lies above peak 0\.1",
        ),
        (
            "data: {task: click, interactions: {files: a.csv, label: l, numeric: [{name: p, missing: 5}]}}",
            "missing 5 lies beyond clip 3",
        ),
        (
            "data: {task: click, interactions: {files: a, label: l, categorical: [b], column_names: [l, b, ' b']}}",
            "'b' names columns 2 and 3",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused_in_a_file_and_on_the_command_line(tmp_path, text, message):
    file = Path(tmp_path, "e.yaml")
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(file)
    with pytest.raises(ConfigError, match=message):
        load_config(None, parse_assignments([text.replace(": ", "=", 1)]))


def test_a_key_that_is_set_twice_must_say_the_same():
    assert parse_assignments(["training.epochs=3", "training.epochs=3"]) == {"training.epochs": 3}
    with pytest.raises(ConfigError, match=r"--set training\.epochs is given twice, as 3 and 4; give it once"):
        parse_assignments(["training.epochs=3", "training.epochs=4"])


@pytest.mark.parametrize("text", ["training.epochs=010", "training={epochs: 1, epochs: 2}", "training.epochs=1:30"])
def test_assignments_are_read_as_strictly_as_files(text):
    with pytest.raises(ConfigError, match=f"--set {text.partition('=')[0]}"):
        parse_assignments([text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3", "x.yaml, line 3, column 2: not valid YAML"),
        ("a:\n\tb: 1", "x.yaml, line 2, column 1: not valid YAML"),
        ("a: *b", "x.yaml, line 1, column 4: not valid YAML, found undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "x.yaml, line 1, column 4: not valid YAML, could not determine"),
        ("a: 1\nb: !!timestamp 2020-13-45", "x.yaml, line 2, column 4: not valid YAML, a wrong value: month must be"),
        ("a: " + "9" * 5000, "x.yaml, line 1, column 4: not valid YAML, a number of more than 4,300 digits"),
        ("a: " + "[" * 2000 + "]" * 2000, "x.yaml, line 1: nested too deeply"),
        ("a: 1\nb: \x01", "x.yaml, line 2: not valid YAML, the character #x0001 is not allowed"),
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
