import json

from pipeline.rehearsal.placeholders import fill, unknown_placeholders


def test_the_input_takes_the_place_of_its_placeholder():
    assert fill(["--input", "{{$}}", "x={{$}}"], '{"a": "\\"b"}') == ["--input", '{"a": "\\"b"}', 'x={"a": "\\"b"}']


def test_the_input_is_escaped_as_often_as_asked_for():
    told = '{"a": "\\"b\\\\"}'
    (once, twice) = fill(['"{{$.json_escape[1]}}"', '"{{$.json_escape[2]}}"'], told)
    assert json.loads(once) == told
    assert json.loads('"' + json.loads(twice) + '"') == told


def test_others_are_named():
    command = ["{{$}}", "{{$.json_escape[1]}}", "a{{$.inputs.parameters['x']}}b{{$.now}}"]
    assert unknown_placeholders(command) == ["{{$.inputs.parameters['x']}}", "{{$.now}}"]
