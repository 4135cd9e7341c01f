"""What Beam remembers equals what it would have found out."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions, TypeOptions
from apache_beam.transforms import core

from pipeline import beam_introspection
from pipeline.beam import in_process_args


class Doubled(beam.DoFn):
    """With every kind of parameter that Beam looks for."""

    def process(self, element, factor=2, window=beam.DoFn.WindowParam):
        yield element * factor


@pytest.fixture(autouse=True)
def remembering(monkeypatch):
    monkeypatch.setattr(core, "get_function_args_defaults", core.get_function_args_defaults)
    monkeypatch.setattr(PipelineOptions, "view_as", PipelineOptions.view_as)
    beam_introspection.remember()
    beam_introspection.remember()


@pytest.mark.parametrize("function", [Doubled().process, Doubled.process, lambda a, b=1: a, len, str.upper])
def test_parameters_are_those_that_beam_finds(function):
    for _ in range(2):
        assert core.get_function_args_defaults(function) == beam_introspection._inspect(function)


def test_an_answer_may_be_changed_by_who_asked():
    core.get_function_args_defaults(Doubled().process)[0].append("more")
    assert core.get_function_args_defaults(Doubled().process)[0] == ["element", "factor", "window"]


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
