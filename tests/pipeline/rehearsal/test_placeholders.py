from pipeline.rehearsal.placeholders import fill, unknown_placeholders


def test_the_input_replaces_its_placeholder():
    assert fill(["--input", "{{$}}", "x={{$}}"], '{"a": "\\"b"}') == ["--input", '{"a": "\\"b"}', 'x={"a": "\\"b"}']


def test_other_placeholders_are_found():
    command = ["{{$}}", "{{$.json_escape[1]}}", "a{{$.inputs.parameters['x']}}b{{$.now}}"]
    assert unknown_placeholders(command) == ["{{$.json_escape[1]}}", "{{$.inputs.parameters['x']}}", "{{$.now}}"]
