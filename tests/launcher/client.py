"""Asks the server next to it to run a Python command line; lasts as long as the program and ends as it does.

It is copied to `bin/python`, `bin/recspan` and `bin/tfx`. It imports little, because it starts hundreds of times.
"""

import json
import os
import signal
import socket
import sys
from types import FrameType

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def main() -> None:
    """Runs the command line by the server; what the server does not know is run by the environment's own Python."""
    called = os.path.abspath(sys.argv[0])
    name, binaries = os.path.basename(called), os.path.dirname(called)
    real = os.path.dirname(sys.executable)
    arguments = sys.argv[1:] if name == "python" else [os.path.join(real, name), *sys.argv[1:]]
    isolated = arguments[:1] == ["-I"]
    program = arguments[1:] if isolated else arguments
    if not program or (program[0].startswith("-") and program[0] not in ("-c", "-m")):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    request = {
        "arguments": program,
        "isolated": isolated,
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "executable": os.path.join(binaries, "python"),
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    server = socket.socket(socket.AF_UNIX)
    server.connect(os.path.join(os.path.dirname(binaries), "isolated" if isolated else "full"))
    body = json.dumps(request).encode()
    socket.send_fds(server, [len(body).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(body)
    child = _number(server)

    def forward(number: int, _: FrameType | None) -> None:
        os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    code = _number(server)
    if code < 0:
        if -code in FORWARDED:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _number(server: socket.socket) -> int:
    """Receives a process id, or an exit code (negative: a signal)."""
    message = b""
    while len(message) < 8:
        part = server.recv(8 - len(message))
        if not part:
            sys.exit("the fork server has gone; see log.txt next to its sockets")
        message += part
    return int.from_bytes(message, "big", signed=True)


if __name__ == "__main__":
    main()
