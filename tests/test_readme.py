"""What the README tells people to type exists: targets, verbs, options, keys, files."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from pipeline.cli import app
from pipeline.config import load_config, parse_assignments

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
RECSPAN = [line for line in COMMANDS if line.startswith(".venv/bin/recspan")]


@pytest.mark.parametrize("line", RECSPAN)
def test_every_recspan_command_parses(line):
    command = typer.main.get_command(app)
    arguments = shlex.split(line)[1:]
    context = command.make_context("recspan", arguments)
    while hasattr(command, "resolve_command"):
        _, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(command.name, arguments, parent=context)
        arguments = [*context._protected_args, *context.args]
    settings = context.params.get("assignments") or []
    load_config(overrides=parse_assignments(settings))


def test_every_make_target_exists():
    makefile = (PROJECT / "Makefile").read_text()
    targets = [line.split()[1] for line in COMMANDS if line.startswith("make ")]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_named_path_exists():
    for path in re.findall(r"`((?:trainer_module|components|pipeline|schema|benchmarks|bootstrap)/[\w/.-]*)`", README):
        assert (PROJECT / path).exists(), path


def test_every_named_setting_exists():
    tree = load_config().model_dump()
    names = re.findall(r"`((?:data|model|training|evaluation|validation)\.\w+)`", README)
    assert names
    for name in names:
        section, key = name.split(".")
        assert key in tree[section], name
