"""Imports what takes long, then forks one process for each program that a client asks for.

Two servers run: one has imported TensorFlow alone and runs what is started with `-I`; its child, the other, has
imported TFX, Beam and the rest as well. Neither imports the product. Neither has threads of its own or has run an
operation of TensorFlow, so their forks can do all that a fresh process can.
"""

import atexit
import gc
import importlib
import importlib.util
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import threading
import types
from dataclasses import dataclass

PRODUCT = ("benchmarks", "bootstrap", "components", "pipeline", "schema", "tests", "tpu_worker", "trainer_module")
# setuptools must come before TFX: TFX imports it late, and it refuses to be loaded after another distutils.
FULL = (
    "setuptools",
    "numpy.random",
    "tensorflow_recommenders",
    "tensorflow_transform.beam",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "apache_beam",
    "tfx.v1",
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor",
    "tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner",
    "tfx.orchestration.local.local_dag_runner",
    "kfp",
    "google.cloud.aiplatform_v1",
    "google.cloud.storage",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "faiss",
    "scipy.sparse",
    "pydantic.json_schema",
    "pydantic.main",
    "typer",
    "yaml",
    "rich.console",
    "rich.progress",
    "rich.table",
)


@dataclass(frozen=True)
class Request:
    """A program to run.

    Attributes:
        arguments: As after `python` and `-I`: `-c CODE`, `-m MODULE` or a file, and what the program gets.
        isolated: Whether the command line has `-I`.
        directory: Where it runs.
        environment: All of its environment.
        executable: Its `sys.executable`.
    """

    arguments: list[str]
    isolated: bool
    directory: str
    environment: dict[str, str]
    executable: str


class Server:
    """Forks programs until its owner ends.

    Args:
        listening: Where clients connect.
        owner: Process of the test run.
    """

    def __init__(self, listening: socket.socket, owner: int):
        self._selector = selectors.DefaultSelector()
        self._listening, self._owner = listening, os.pidfd_open(owner)
        self._clients: dict[socket.socket, int] = {}
        self._programs: dict[int, tuple[int, socket.socket]] = {}
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._owner, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Serves until the owner ends; returns None then, and in each fork the program to run."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._owner:
                    for program in self._clients.values():
                        os.kill(program, signal.SIGKILL)
                    return None
                if key.fileobj is self._listening:
                    if request := self._accept():
                        return request
                elif key.fileobj in self._clients:
                    self._hung_up(key.fileobj)
                elif key.fileobj in self._programs:
                    self._ended(key.fileobj)

    def _accept(self) -> Request | None:
        client, _ = self._listening.accept()
        length, descriptors, _, _ = socket.recv_fds(client, 8, 3)
        if len(length) < 8:
            client.close()
            return None
        with client.makefile("rb") as stream:
            request = Request(**json.loads(stream.read(int.from_bytes(length, "big"))))
        program = os.fork()
        if not program:
            for target, source in enumerate(descriptors):
                os.dup2(source, target)
                os.close(source)
            self._forget(client)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        client.sendall(program.to_bytes(8, "big"))
        watched = os.pidfd_open(program)
        self._clients[client], self._programs[watched] = program, (program, client)
        self._selector.register(client, selectors.EVENT_READ)
        self._selector.register(watched, selectors.EVENT_READ)
        return None

    def _hung_up(self, client: socket.socket) -> None:
        """Kills the program of a client that was killed itself."""
        os.kill(self._clients[client], signal.SIGKILL)
        self._selector.unregister(client)
        del self._clients[client]

    def _ended(self, watched: int) -> None:
        program, client = self._programs.pop(watched)
        _, status = os.waitpid(program, 0)
        code = os.waitstatus_to_exitcode(status)
        self._selector.unregister(watched)
        os.close(watched)
        if client in self._clients:
            self._selector.unregister(client)
            del self._clients[client]
            client.sendall(code.to_bytes(8, "big", signed=True))
        client.close()

    def _forget(self, client: socket.socket) -> None:
        """Closes all that a fork has no part in."""
        for each in (client, self._listening, self._selector, *self._clients):
            each.close()
        for descriptor in (self._owner, *self._programs):
            os.close(descriptor)


def preload(names: tuple[str, ...]) -> None:
    """Imports modules, apart from those of packages that this environment lacks.

    Raises:
        RuntimeError: One of them has imported the product, whose sources every program must choose itself.
    """
    for name in names:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    if imported := {name.partition(".")[0] for name in sys.modules} & set(PRODUCT):
        raise RuntimeError(f"the fork server must not import the product, but has imported {sorted(imported)}")
    # Collections in a fork would otherwise copy every page.
    gc.collect()
    gc.freeze()


def become(request: Request, search_path: list[str]) -> None:
    """Gives a fork what a fresh process would have.

    Args:
        request: The program.
        search_path: `sys.path` of an isolated process.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request.directory)
    os.environ.clear()
    # TensorFlow is imported, with Keras 2.
    os.environ.update({"TF_USE_LEGACY_KERAS": "1"} | request.environment)
    tempfile.tempdir = None
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.executable = request.executable
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    sys.path[:] = search_path
    if not request.isolated:
        kind = request.arguments[0]
        first = "" if kind == "-c" else os.getcwd() if kind == "-m" else os.path.dirname(os.path.abspath(kind))
        given = os.environ.get("PYTHONPATH", "")
        sys.path[:0] = [first, *(os.path.abspath(each) for each in given.split(os.pathsep) if each)]
        # What a user's directory of modules has Python do at its start.
        sys.modules.pop("sitecustomize", None)
        if importlib.util.find_spec("sitecustomize"):
            importlib.import_module("sitecustomize")


def run(arguments: list[str]) -> int:
    """Runs a program as the interpreter does, from its first line to its exit code.

    Frees nothing at the end, unlike the interpreter: with so many modules that takes half a second.
    """
    try:
        _execute(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 0xFF


def _execute(arguments: list[str]) -> None:
    """Runs `-c CODE`, `-m MODULE` or a file."""
    kind = arguments[0]
    if kind == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    if kind == "-c":
        sys.argv = ["-c", *arguments[2:]]
        code = compile(arguments[1], "<string>", "exec")
    else:
        sys.argv = arguments
        main.__file__ = kind
        with open(kind, "rb") as file:
            code = compile(file.read(), kind, "exec")
    exec(code, main.__dict__)


def main() -> None:
    """`python server.py DIRECTORY OWNER SOCKET SOCKET`; the directory is removed in the end."""
    directory, owner, isolated, full = sys.argv[1], *map(int, sys.argv[2:])
    search_path = sys.path[1:]
    sys.path[:] = search_path
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload(("tensorflow",))
    is_full = not os.fork()
    if is_full:
        os.close(isolated)
        preload(FULL)
    else:
        os.close(full)
    request = Server(socket.socket(fileno=full if is_full else isolated), owner).serve()
    if request:
        become(request, search_path)
        os._exit(run(request.arguments))
    elif not is_full:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
