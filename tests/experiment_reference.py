"""Writes docs/experiment.md from the config classes: `python -m tests.experiment_reference`."""

import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import PipelineConfig
from pipeline.two_stage.config import TwoStageModel
from trainer_module.data.features import Categorical, Numeric, Table

PAGE = Path(__file__).parent.parent / "docs" / "experiment.md"
NOTES = Path(__file__).with_suffix(".yaml")

_INTRODUCTION = """# Every key of an experiment file

`python -m tests.experiment_reference` writes this page from the classes that read the file; a test compares the two.
The other pages explain how the keys work together: [own data](own_data.md), [embedding tables](embeddings.md),
[training](training.md), [export](export.md), [the retrieval index](retrieval_index.md), [Vertex AI](vertex.md).

Unknown keys are refused with the nearest known one, and so is a value of another type or outside the range; the last
column names what else refuses a value. Numbers must be finite. Unless that column says otherwise, this happens when the
file is read. A default that is not shown is `null`, or the empty text. `--set` takes the same keys with dots between
them, as in `--set training.epochs=3`.
"""
_NAMES = {
    dict: "section",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    date: "date",
    datetime: "time",
}
# What an override means is said where the table or column is described.
_EXPLAINED_BY = {"TableOverride": Table, "FeatureOverride": Categorical, "NumericEntry": Numeric}


def render() -> str:
    """The page."""
    notes = yaml.safe_load(NOTES.read_text())
    used: set[str] = set()
    parts = [_INTRODUCTION]
    for model, places in sections().items():
        parts.append(_section(model, places, notes, used))
    if idle := notes.keys() - used:
        raise ValueError(f"{NOTES.name} has notes on keys that are not there: {sorted(idle)}")
    return "\n".join(parts)


def sections() -> dict[type[BaseModel], list[str]]:
    """All config classes with the places of the experiment file where they stand, in the order of the file."""
    found: dict[type[BaseModel], list[str]] = {}
    waiting = [(PipelineConfig, ""), (TwoStageModel, "model")]
    while waiting:
        model, place = waiting.pop(0)
        found.setdefault(model, []).append(place)
        if len(found[model]) > 1:
            continue
        inner = []
        for name, field in model.model_fields.items():
            dots = f"{place}.{name}".removeprefix(".")
            inner += [(each, f"{dots}.NAME" if is_named else dots) for each, is_named in _models(field.annotation)]
        waiting = inner + waiting
    return found


def rows(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Keys of a class, without the one that chooses it among others."""
    for name, field in model.model_fields.items():
        if not _chooses(name, field):
            yield name, field


def _section(model: type[BaseModel], places: list[str], notes: dict[str, Any], used: set[str]) -> str:
    title = ", ".join(f"`{place}`" for place in dict.fromkeys(places) if place) or "The whole file"
    if chosen := [f"{name}: {_choice(field)}" for name, field in model.model_fields.items() if _chooses(name, field)]:
        title += f", `{chosen[0]}`"
    lines = [f"## {title}", "", _first_sentence(model), ""]
    table = [(name, field, *_note(model, name, notes, used), _meaning(model, name)) for name, field in rows(model)]
    if table:
        lines += ["| key | type, range | default | example | meaning | refused |", "|---|---|---|---|---|---|"]
    for name, field, example, refused, meaning in table:
        cells = (
            f"`{name}`",
            _type_and_range(field),
            _default(field),
            f"`{example}`" if example else "",
            meaning,
            refused,
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _note(model: type[BaseModel], name: str, notes: dict[str, Any], used: set[str]) -> tuple[str, str]:
    for base in model.__mro__:
        if (key := f"{base.__name__.lstrip('_')}.{name}") in notes:
            used.add(key)
            note = notes[key]
            both = isinstance(note, dict) and note.keys() == {"example", "refused"}
            return (_as_yaml(note["example"]), note["refused"]) if both else (_as_yaml(note), "")
    return _as_yaml(_obvious_example(model.model_fields[name])), ""


def example_of(model: type[BaseModel], name: str) -> str:
    """The example of a key, as YAML; empty for a section, whose own keys have examples."""
    return _note(model, name, yaml.safe_load(NOTES.read_text()), set())[0]


def _obvious_example(field: FieldInfo) -> Any:
    """Another value of a key that has few."""
    options = [value for literal in _literals(field.annotation) for value in get_args(literal)]
    if bool in (field.annotation, *get_args(field.annotation)):
        options = [True, False]
    return next((value for value in reversed(options) if value != field.default and value != ""), None)


def _meaning(model: type[BaseModel], name: str) -> str:
    for base in (*model.__mro__, _EXPLAINED_BY.get(model.__name__, object)):
        if text := _attributes(base).get(name):
            return re.sub(r"\bNone\b", "`null`", text)
    raise ValueError(f"{model.__name__}.{name}: its docstring does not say what it means")


def _attributes(model: type) -> dict[str, str]:
    """The section `Attributes` of a class's own docstring."""
    block = re.search(r"^Attributes:\n(.*?)(?=^\S|\Z)", inspect.cleandoc(model.__doc__ or ""), re.MULTILINE | re.DOTALL)
    entries = re.split(r"^(?=\w+: )", textwrap.dedent(block[1]), flags=re.MULTILINE) if block else []
    pairs = (entry.split(": ", 1) for entry in entries if entry.strip())
    return {name: re.sub(r"\s+", " ", text).strip().replace("[", r"\[") for name, text in pairs}


def _first_sentence(model: type[BaseModel]) -> str:
    paragraph = inspect.cleandoc(model.__doc__ or "").split("\n\n")[0]
    return re.sub(r"\s+", " ", paragraph).strip()


def _type_and_range(field: FieldInfo) -> str:
    kind = _type(field.annotation)
    bounds = [_range(constraint) for constraint in field.metadata]
    return ", ".join([kind, *filter(None, bounds)])


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([_type(arguments[0]), *filter(None, map(_range, arguments[1:]))])
    if origin in (Union, types.UnionType):
        kinds = [_type(each) for each in arguments if each is not type(None)]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments if value != "")
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list: {_type(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: {_type(arguments[0])}"
    if origin is dict:
        return f"by name: {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        # Such an entry may be its name alone.
        return (
            "name or section"
            if "name" in annotation.model_fields and "feature" in annotation.model_fields
            else "section"
        )
    return _NAMES[annotation]


def _range(constraint: Any) -> str:
    if isinstance(constraint, FieldInfo):
        return ", ".join(filter(None, map(_range, constraint.metadata)))
    if isinstance(constraint, annotated_types.MinLen):
        return "not empty"
    bounds = (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))
    return ", ".join(
        f"{word} {getattr(constraint, name)}" for name, word in bounds if getattr(constraint, name, None) is not None
    )


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default == "":
        return ""
    if isinstance(field.default, BaseModel):
        named = {name for name, inner in type(field.default).model_fields.items() if _chooses(name, inner)}
        chosen = {name: getattr(field.default, name) for name in sorted(named) + sorted(field.default.model_fields_set)}
        return f"`{_as_yaml(chosen)}`" if chosen else "its keys' defaults"
    return f"`{_as_yaml(field.default)}`"


def _as_yaml(value: Any) -> str:
    """A value as it stands in the file, on one line."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()


def _models(annotation: Any, is_named: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """Config classes within a type, and whether they stand below names that the file chooses."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, is_named
        return
    for argument in get_args(annotation):
        yield from _models(argument, is_named or get_origin(annotation) is dict)


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _literals(argument)


def _chooses(name: str, field: FieldInfo) -> bool:
    return name in ("by", "type", "name") and get_origin(field.annotation) is Literal


def _choice(field: FieldInfo) -> str:
    return ", ".join(get_args(field.annotation))


if __name__ == "__main__":
    PAGE.write_text(render())
