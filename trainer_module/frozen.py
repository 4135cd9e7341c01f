"""The base of all settings."""

import math
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Frozen(BaseModel):
    """An immutable model that refuses unknown keys, numbers that are not finite, and booleans in place of numbers."""

    # A number that is none, or is infinite, has no meaning in any setting.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _tell_numbers_apart(cls, values: Any) -> Any:
        # Pydantic takes true for 1 and 1 for true.
        if not isinstance(values, Mapping):
            return values
        wrong: list[InitErrorDetails] = [
            {"type": PydanticCustomError("kind", message), "loc": (name,), "input": values[name]}  # type: ignore[arg-type]
            for name, field in cls.model_fields.items()
            if name in values
            for message in _mistaken(field.annotation, values[name])
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return values


def reasons(error: ValidationError) -> str:
    """What was wrong, without pydantic's own furniture."""
    return "; ".join(detail["msg"].removeprefix("Value error, ") for detail in error.errors())


def _mistaken(annotation: Any, value: Any) -> Iterator[str]:
    """What is wrong with a value that is, or holds, no finite number or a boolean in its place; at most one thing."""
    members = list(_members(annotation))
    takes_numbers = bool({int, float} & set(members))
    if isinstance(value, bool):
        if bool not in members and takes_numbers:
            yield "expected a number, found a boolean (YAML reads yes, no, on and off as booleans, too)"
    elif isinstance(value, int | float):
        if bool in members and not takes_numbers:
            yield "expected true or false, found a number"
        elif takes_numbers and isinstance(value, float) and not math.isfinite(value):
            yield "expected a finite number"
    elif isinstance(value, list | tuple):
        tuples = [get_args(member) for member in members if get_origin(member) is tuple]
        elements = [element for of_tuple in tuples for element in of_tuple if element is not Ellipsis]
        if elements:
            of_each = Union[tuple(elements)]  # noqa: UP007 (made at run time)
            yield from [problem for each in value for problem in _mistaken(of_each, each)][:1]
    elif isinstance(value, Mapping):
        of_values = [get_args(member)[1] for member in members if get_origin(member) is dict]
        if of_values:
            yield from [problem for each in value.values() for problem in _mistaken(of_values[0], each)][:1]


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union, without annotations; a type alone is its only member."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation
