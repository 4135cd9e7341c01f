"""Caches what Beam computes again and again while it builds and starts a pipeline.

Beam inspects the parameters of every method of every step several times, makes an argument parser whenever it reads an
option, and compares every pickled function with the names of all imported modules. These answers do not change. On
pipelines with little data they are a third of a component's time.

For side inputs it is the other way round. Beam's own cache measures the size of what it keeps, for which it looks at
every imported module, and saves nothing in the in-process runner, which holds them in memory anyway.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.transforms import core, userstate

# Beyond as many functions, those that were not asked for the longest are inspected again.
_FUNCTIONS = 8192

_inspect = core.get_function_args_defaults
_make_view = PipelineOptions.view_as
_find_specs = userstate.get_dofn_specs
_views: "WeakKeyDictionary[PipelineOptions, dict[type, Any]]" = WeakKeyDictionary()
_specs: "WeakKeyDictionary[type, tuple[frozenset, frozenset]]" = WeakKeyDictionary()


def remember() -> None:
    """Replaces Beam's functions by caching ones and turns its cache of side inputs off.

    A second call changes nothing.
    """
    core.get_function_args_defaults = _args_and_defaults
    PipelineOptions.view_as = _view_as
    userstate.get_dofn_specs = _state_and_timers
    cloudpickle._find_imported_submodules = _imported_submodules
    worker_handlers.STATE_CACHE_SIZE_MB = 0


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


def _state_and_timers(dofn: core.DoFn) -> tuple[set, set]:
    """Specs of the state and the timers of a DoFn: those of its class, unless it holds further methods itself."""
    if any(isinstance(value, MethodType) for value in vars(dofn).values()):
        return _find_specs(dofn)
    cls = type(dofn)
    if cls not in _specs:
        states, timers = _find_specs(dofn)
        _specs[cls] = frozenset(states), frozenset(timers)
    states, timers = _specs[cls]
    return set(states), set(timers)


def _imported_submodules(code: CodeType, modules: Iterable[Any]) -> list[ModuleType]:
    """Imported modules below `modules` whose path a function's code can name, such as `futures` of `concurrent`.

    Follows the names in the code down from each module instead of comparing with everything that is imported.
    """
    packages = [each for each in modules if isinstance(each, ModuleType) and getattr(each, "__package__", None)]
    # An import of `a.b` has that as one name, but is found in `sys.modules` when it runs.
    names = [name for name in code.co_names if "." not in name]
    return [found for each in packages for found in _submodules(each.__name__, names)]


def _submodules(package: str, names: Sequence[str]) -> Iterator[ModuleType]:
    for name in names:
        path = f"{package}.{name}"
        if module := sys.modules.get(path):
            yield module
            yield from _submodules(path, names)
