"""Spares Beam what it finds out again and again while it builds and starts a pipeline.

Beam asks for the parameters of every method of every step several times, and makes an argument parser for every look at
an option. Neither answer changes. On pipelines with little data, where this is a third of a component's time, that is
the difference between waiting and not.
"""

import functools
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core

# Beyond as many functions, those that were not asked for the longest are inspected again.
_FUNCTIONS = 8192

_inspect = core.get_function_args_defaults
_make_view = PipelineOptions.view_as
_views: "WeakKeyDictionary[PipelineOptions, dict[type, Any]]" = WeakKeyDictionary()


def remember() -> None:
    """Lets Beam remember; a second call changes nothing."""
    core.get_function_args_defaults = _args_and_defaults
    PipelineOptions.view_as = _view_as


def _args_and_defaults(function: Callable[..., Any]) -> tuple[list[str], list[Any]]:
    """Names and default values of a function's parameters, for a bound method without the first."""
    if inspect.ismethod(function):
        names, defaults = _of_method(function.__func__)
        return list(names), list(defaults)
    return _inspect(function)


@functools.lru_cache(_FUNCTIONS)
def _of_method(function: Callable[..., Any]) -> tuple[list[str], list[Any]]:
    """Those of a function that is bound as a method, to whatever object."""
    return _inspect(MethodType(function, object()))


def _view_as(options: PipelineOptions, cls: type) -> Any:
    """A view, which shares its values with the options and all other views of them."""
    views = _views.setdefault(options, {})
    if cls not in views:
        views[cls] = _make_view(options, cls)
    return views[cls]
