"""What Beam remembers equals what it would have found out."""

import concurrent.futures
import importlib
import os.path
import xml.dom.minidom

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.coders import VarIntCoder
from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions, TypeOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import statecache
from apache_beam.transforms import core, userstate

from pipeline import beam_introspection
from pipeline.beam import in_process_args


class Doubled(beam.DoFn):
    """With every kind of parameter that Beam looks for."""

    def process(self, element, factor=2, window=beam.DoFn.WindowParam):
        yield element * factor


class Counting(beam.DoFn):
    """With state and a timer."""

    COUNT = userstate.CombiningValueStateSpec("count", VarIntCoder(), sum)
    END = userstate.TimerSpec("end", beam.TimeDomain.WATERMARK)
    COUNTER, ALARM = beam.DoFn.StateParam(COUNT), beam.DoFn.TimerParam(END)

    def process(self, element, count=COUNTER, end=ALARM):
        count.add(1)

    @userstate.on_timer(END)
    def at_end(self, count=COUNTER):
        yield count.read()


find_specs, find_submodules = userstate.get_dofn_specs, cloudpickle._find_imported_submodules


@pytest.fixture(autouse=True)
def remembering(monkeypatch):
    monkeypatch.setattr(userstate, "get_dofn_specs", find_specs)
    monkeypatch.setattr(cloudpickle, "_find_imported_submodules", find_submodules)
    monkeypatch.setattr(core, "get_function_args_defaults", core.get_function_args_defaults)
    monkeypatch.setattr(PipelineOptions, "view_as", PipelineOptions.view_as)
    monkeypatch.setattr(worker_handlers, "STATE_CACHE_SIZE_MB", worker_handlers.STATE_CACHE_SIZE_MB)
    beam_introspection.remember()
    beam_introspection.remember()


@pytest.mark.parametrize("function", [Doubled().process, Doubled.process, lambda a, b=1: a, len, str.upper])
def test_parameters_are_those_that_beam_finds(function):
    for _ in range(2):
        assert core.get_function_args_defaults(function) == beam_introspection._inspect(function)


def test_an_answer_may_be_changed_by_who_asked():
    core.get_function_args_defaults(Doubled().process)[0].append("more")
    assert core.get_function_args_defaults(Doubled().process)[0] == ["element", "factor", "window"]


def test_state_and_timers_are_those_that_beam_finds():
    borrowed = Doubled()
    borrowed.process = Counting().process
    for dofn in (Counting(), Counting(), Doubled(), borrowed, Doubled()):
        assert userstate.get_dofn_specs(dofn) == find_specs(dofn)
    assert [len(specs) for specs in userstate.get_dofn_specs(Counting())] == [1, 1]


def _names_modules():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(tf.saved_model.save, xml.dom.minidom.Node, os.path.join("a", "b"))
    import importlib.util

    return importlib.util


@pytest.mark.parametrize("function", [_names_modules, beam_introspection.remember, tf.saved_model.save])
def test_submodules_of_a_pickled_function_are_those_that_cloudpickle_finds(function):
    modules = [concurrent, tf, xml, os, importlib, "no module", None]
    found = cloudpickle._find_imported_submodules(function.__code__, modules)
    assert len(found) == len({id(each) for each in found})
    assert {id(each) for each in found} == {id(each) for each in find_submodules(function.__code__, modules)}


def test_views_share_their_values_and_belong_to_their_options():
    options, others = PipelineOptions(["--runner=A", "--save_main_session"]), PipelineOptions(["--runner=B"])
    assert options.view_as(StandardOptions) is options.view_as(StandardOptions)
    assert [each.view_as(StandardOptions).runner for each in (options, others)] == ["A", "B"]
    options.view_as(StandardOptions).runner = "C"
    assert options.view_as(SetupOptions).view_as(StandardOptions).runner == "C"
    assert options.view_as(SetupOptions).save_main_session
    assert not others.view_as(SetupOptions).save_main_session
    assert others.view_as(TypeOptions).pipeline_type_check


def test_pipelines_come_to_the_same(capsys):
    with beam.Pipeline(argv=list(in_process_args())) as pipeline:
        found = pipeline | beam.Create([1, 2]) | beam.ParDo(Doubled(), 3) | beam.CombineGlobally(sum)
        _ = found | beam.Map(print)
    assert capsys.readouterr().out == "9\n"


def test_side_inputs_are_read_without_measuring_them(capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("a side input was measured")

    monkeypatch.setattr(statecache, "get_deep_size", refuse)
    with beam.Pipeline(argv=list(in_process_args())) as pipeline:
        one, several = pipeline | "one" >> beam.Create([10]), pipeline | "several" >> beam.Create([3, 4])
        found = (
            pipeline
            | beam.Create([1, 2])
            | beam.Map(
                lambda value, added, factors: value * sum(factors) + added,
                beam.pvalue.AsSingleton(one),
                beam.pvalue.AsIter(several),
            )
        )
        _ = found | beam.CombineGlobally(sum) | beam.Map(print)
    assert capsys.readouterr().out == "41\n"
