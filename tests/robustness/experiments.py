"""Makes malformed experiment files and command lines, by class of fault."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import yaml

from tests.robustness.cases import ExperimentCase

_BASE: dict[str, Any] = {
    "name": "clicks",
    "data": {
        "interactions": {
            "files": "clicks.csv",
            "delimiter": ",",
            "user": {"name": "user", "vocabulary": {"min_frequency": 2}},
            "item": "item",
            "label": {"name": "clicked", "positive_from": 1},
            "time": {"name": "when", "unit": "s"},
            "categorical": [{"name": "country", "separator": "|"}],
            "numeric": [{"name": "price", "clip": 3.0}],
            "context": ["device"],
        },
        "items": {"files": "items.csv", "key": "item", "title": "title", "text": ["description"]},
        "task": "click",
        "split": {"by": "random", "eval_fraction": 0.1, "test_fraction": 0.1, "seed": 3},
        "slices": ["device"],
        "max_bad_rows": 5,
    },
    "validation": {"fail_on": "error"},
    "model": {"type": "dlrm", "bottom": [16, 8], "top": [8]},
    "embeddings": {
        "dim": 8,
        "initializer": {"name": "truncated_normal", "stddev": 0.1},
        "tables": {"item": {"dim": 8}},
    },
    "training": {
        "epochs": 2,
        "batch_size": 64,
        "seed": 5,
        "clip_norm": 1.0,
        "dense_optimizer": {"name": "adam", "learning_rate": {"peak": 0.01, "warmup_steps": 10}},
        "embedding_optimizer": {"name": "adagrad", "learning_rate": 0.05},
    },
    "export": {"route": "auto"},
    "evaluation": {"min_auc": 0.5, "max_regression": 0.01},
    "cache": True,
}
_NOT_A_SECTION: tuple[Any, ...] = (5, "text", [1, 2], None)
_NOT_A_NUMBER: tuple[Any, ...] = ("text", [], {}, "9" * 400)
_NOT_A_TEXT: tuple[Any, ...] = ({"a": {"b": 1}}, [[1]])


def make_cases(seed: int) -> list[ExperimentCase]:
    """All cases; the same seed gives the same texts."""
    return [case for make in _MAKERS for case in make(random.Random(f"{seed} {make.__name__}"))]


def base() -> bytes:
    """An experiment without a fault."""
    return _yaml(_BASE)


def _yaml(tree: Any) -> bytes:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()


def _paths(tree: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """All places of a tree, with their values."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield (*above, key), value
        yield from _paths(value, (*above, key))


def _changed(path: tuple[str | int, ...], value: Any, key: Any = None) -> bytes:
    """The base with another value at a place, under another key if there is one."""
    tree = copy.deepcopy(_BASE)
    place = tree
    for step in path[:-1]:
        place = place[step]
    if key is not None:
        del place[path[-1]]
    place[path[-1] if key is None else key] = value
    return _yaml(tree)


def _key(path: tuple[str | int, ...]) -> str:
    """The last key of a place; entries of lists have none."""
    return [step for step in path if isinstance(step, str)][-1]


def values_of_the_wrong_kind(rng: random.Random) -> Iterator[ExperimentCase]:
    for path, value in _paths(_BASE):
        if isinstance(value, dict):
            # A number is a constant learning rate.
            wrong = _NOT_A_SECTION if len(path) == 1 else ([1, 2],) if path[-1] == "learning_rate" else (5, [1, 2])
            for each in wrong:
                yield ExperimentCase("a value for a section", _changed(path, each), (_key(path),))
        elif isinstance(value, bool):
            yield ExperimentCase("a value of another kind", _changed(path, "text"), (_key(path),))
        elif isinstance(value, int | float):
            for each in rng.sample(_NOT_A_NUMBER, 2):
                yield ExperimentCase("a value for a number", _changed(path, each), (_key(path),))
        elif isinstance(value, str) and isinstance(path[-1], str):
            yield ExperimentCase("a value for a text", _changed(path, rng.choice(_NOT_A_TEXT)), (_key(path),))
        elif isinstance(value, list):
            yield ExperimentCase("a value for a list", _changed(path, {"a": 1}), (_key(path),))


def unknown_keys(rng: random.Random) -> Iterator[ExperimentCase]:
    for path, value in _paths(_BASE):
        key = path[-1]
        if isinstance(key, str) and path[:-1] != ("embeddings", "tables"):
            position = rng.randrange(len(key))
            mistyped = key[:position] + rng.choice("xqz") + key[position:]
            yield ExperimentCase("a mistyped key", _changed(path, value, mistyped), (mistyped,))
    for key in (5, None, 1.5, "", "a.b", "k" * 3000, "é", True):
        for section in ((), ("training",), ("data",)):
            shown = "''" if key == "" else str(key)[:50]
            yield ExperimentCase("a key that is no name", _with(section, key), ((shown, "key"),))


def _with(section: tuple[str, ...], key: Any) -> bytes:
    """The base with one more key, at the top or in a section."""
    tree = copy.deepcopy(_BASE)
    place = tree[section[0]] if section else tree
    place[key] = 1
    return _yaml(tree)


def numbers_out_of_range(rng: random.Random) -> Iterator[ExperimentCase]:
    for path, value in _paths(_BASE):
        if isinstance(value, bool) or not isinstance(value, int | float) or path[-1] == "positive_from":
            continue
        for each in (-1, -0.5, float("nan"), float("-inf")):
            yield ExperimentCase("a number out of range", _changed(path, each), (_key(path),))
    for number in ("9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "0b" + "1" * 20000):
        text = base().replace(b"seed: 5", f"seed: {number}".encode())
        yield ExperimentCase("a number of thousands of digits", text, (("line", "seed"),))


def yaml_mistakes(rng: random.Random) -> Iterator[ExperimentCase]:
    whole = base().decode()
    lines = whole.splitlines()
    for _ in range(8):
        row = rng.randrange(1, len(lines))
        text = "\n".join([*lines[:row], "\t" + lines[row].strip(), *lines[row + 1 :]])
        yield ExperimentCase("a tab as indent", text.encode(), (("line", "key", "expected"),))
    for wrong in (
        "a: [1",
        "a: {b: 1",
        'a: "text',
        "a: 'text",
        "a: *none",
        "a: !!python/name:os.system",
        "- b",
        "a: b: c",
        "@",
    ):
        yield ExperimentCase("broken YAML", f"{whole}{wrong}\n".encode(), ("line",))
    for tag in ("!!python/object/apply:os.system [ls]", "!!python/object/new:type []", "!!python/module:os", "!own {}"):
        yield ExperimentCase("a tag that makes objects", f"name: {tag}\n".encode(), ("line 1", "tag"))
    for depth in (500, 2000):
        yield ExperimentCase("nested too deeply", f"data: {'[' * depth}{']' * depth}".encode(), (("nested", "data"),))
        yield ExperimentCase(
            "nested too deeply", f"data: {'{a: ' * depth}1{'}' * depth}".encode(), (("nested", "data"),)
        )
    for text in (b"5", b"text", b"- a\n- b", b"true", b"2024-01-01", b'"a"', b"!!set {a}"):
        yield ExperimentCase("no keys at the top", text, (("expected keys and values", "unknown key"),))
    for content in (b"\xff\xfe\x00", b"name: caf\xe9", b"\x89PNG\r\n", b"name: \x00", b"name: \x07", b"PK\x03\x04\xff"):
        yield ExperimentCase("bytes that are no text", content, (("line", "UTF-8", "not valid"),))
    for value in ("2020-13-45", "!!int x", "!!float x", "!!timestamp x", "!!bool x"):
        yield ExperimentCase("a value that YAML cannot read", f"{whole}more: {value}\n".encode(), (("line", "more"),))
    recursive = b"data: &a\n  dataset: csv\n  label: *a\n"
    yield ExperimentCase("an alias of itself", recursive, (("label", "line 3"),))


def duplicates_and_readings(rng: random.Random) -> Iterator[ExperimentCase]:
    whole = base().decode()
    for line in ("name: other", "cache: false", "training: {}"):
        yield ExperimentCase("a key that stands twice", f"{whole}{line}\n".encode(), (line.split(":")[0],))
    for key in ("epochs", "dim"):
        text = whole.replace(f"\n  {key}:", f"\n  {key}: 3\n  {key}:", 1)
        yield ExperimentCase("a key that stands twice", text.encode(), (key,))
    for value in ("yes", "true", "010", "0o17", "1:30", "190:20:30", "1_000"):
        text = whole.replace("epochs: 2", f"epochs: {value}")
        words = None if value == "1_000" else ("epochs",)
        yield ExperimentCase("a number that YAML reads otherwise", text.encode(), words)
    for value in (".inf", ".nan", "-.inf"):
        for key in ("clip_norm: 1.0", "learning_rate: 0.05", "max_regression: 0.01", "clip: 3.0"):
            text = whole.replace(key, f"{key.split(':')[0]}: {value}")
            yield ExperimentCase("no finite number", text.encode(), (key.split(":")[0],))


def names_that_lead_elsewhere(rng: random.Random) -> Iterator[ExperimentCase]:
    for name in ("../x", "/etc", "a/b", "a b", "A", "a\0b", "n" * 300, "ä", "..", "a\nb"):
        yield ExperimentCase("a name that leads elsewhere", _changed(("name",), name), ("name",))
        if name != "A":
            table = {"name": "user", "table": name}
            changed = _changed(("data", "interactions", "user"), table)
            yield ExperimentCase("a table that leads elsewhere", changed, (("table", "user"),))
    for name in ("../x", "/etc/passwd", "a\0b", "n" * 5000, "..", "ä", "数" * 300):
        changed = _changed(("data", "interactions", "numeric"), [name])
        yield ExperimentCase("a column of any name", changed, None)
    for name in ("../x", "/etc/passwd", "a\0b", 5, ["a"], {"a": 1}, "x" * 3000, ""):
        text = _yaml({"data": {"dataset": name}})
        yield ExperimentCase("a dataset that is none", text, (("dataset", "data"),))


def code_by_name(rng: random.Random) -> Iterator[ExperimentCase]:
    functions = (
        "os.system",
        "subprocess.call",
        "builtins.eval",
        "posix.system",
        "shutil.rmtree",
        "tensorflow.print",
        "a.b",
    )
    places = (("training", "dense_optimizer"), ("training", "embedding_optimizer"))
    for function in functions:
        for place in places:
            changed = _changed((*place, "learning_rate"), {"function": function})
            yield ExperimentCase("code that is not listed", changed, (function, "modules"))
    for module in ("os", "os.path", "subprocess", "builtins", "sys"):
        tree = copy.deepcopy(_BASE) | {"modules": [module]}
        yield ExperimentCase("code of the standard library", _yaml(tree), (module, "modules"))
    for function in ("system", "os.", ".x", "os..system", "__import__('os').system('ls')", "", 5, ["os.system"]):
        changed = _changed(("training", "dense_optimizer", "learning_rate"), {"function": function})
        yield ExperimentCase("code that is no name", changed, ("learning_rate",))


def command_lines(rng: random.Random) -> Iterator[ExperimentCase]:
    for file in ("/etc", "/proc/self/mem", "nowhere.yaml", "nowhere", "x" * 5000, "", "/dev/zero"):
        command = ("pipeline", "run", "--config", file)
        yield ExperimentCase("a configuration that cannot be read", command, (file[:20] or ".",))
    for assignment in (
        "data=5",
        "data.dataset=5",
        "data.dataset=[a]",
        "data.dataset={a: 1}",
        "model=dlrm",
        "training.epochs=x",
        "training.seed=-1",
        "training.epochs=" + "9" * 5000,
        "training.epochs=" + "[" * 2000,
        "name=../x",
        'name="a\\0b"',
        "=5",
        "x",
        ".=1",
        "a..b=1",
        "data.dataset.x=1",
        "training.epochs=*a",
        "training=!!python/name:os.system",
        "data.split.by=5",
        "evaluation=5",
        "training.epochs=2020-13-45",
    ):
        key = assignment.partition("=")[0] or "--set"
        words = ((key.split(".")[0] or "unknown key", "unknown key"),)
        yield ExperimentCase("a wrong --set", ("pipeline", "run", "--set", assignment), words)
    for root in ("/dev/null", "/proc/recspan", "/etc/passwd/x", "n" * 300, "/sys/x"):
        yield ExperimentCase("a root that takes no files", ("pipeline", "run", "--root", root), ("--root",))
        yield ExperimentCase(
            "a root that takes no files",
            ("data", "generate", "--ratings", "1000", "--data-dir", f"{root}/data"),
            ("--data-dir",),
        )
    for arguments in (
        ("data", "generate", "--seed", "-1"),
        ("data", "generate", "--seed", "9" * 30),
        ("data", "generate", "--ratings", "x"),
        ("data", "generate", "--users", "0"),
        ("data", "generate-clicks", "--rows", "1"),
        ("recommend", "--user", "1", "-k", "0"),
        ("pipeline", "list", "--limit", "0"),
        ("pipeline", "run", "--max-bad-rows", "x"),
        ("predict", "--unknown"),
    ):
        yield ExperimentCase("an option out of range", arguments, ((arguments[-2], "--unknown"),))
    for dataset in ("nope", "", "../x", "synthetic", "movielens-100k-u1"):
        yield ExperimentCase("a dataset that is not fetched", ("data", "fetch", dataset), (dataset or "dataset",))
    for file in ("/etc", "nowhere.csv", "/dev/null", "[", "x" * 300):
        yield ExperimentCase("a file that cannot be inspected", ("data", "inspect", file), (file[:20],))
    for name in ("/etc", "nowhere", "/dev/null"):
        arguments = ("plan", "--tpu", "v4-8", "--tables", name)
        yield ExperimentCase("a table set that cannot be read", arguments, ((name, "batch_size"),))


_MAKERS = (
    values_of_the_wrong_kind,
    unknown_keys,
    numbers_out_of_range,
    yaml_mistakes,
    duplicates_and_readings,
    names_that_lead_elsewhere,
    code_by_name,
    command_lines,
)
