"""Refuses every connection to another machine, and writes down who tried; imported by Python when it starts."""

import os
import sys
import traceback

_LOCAL = ("", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "ip6-localhost")
# Index of the argument that holds the address.
_EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}


def _refuse(event, arguments):
    if event not in _EVENTS:
        return
    address = arguments[_EVENTS[event]]
    if isinstance(address, tuple):
        address = address[0]
    elif event in ("socket.connect", "socket.sendto"):
        return  # a path: a socket of this machine
    if isinstance(address, bytes):
        address = address.decode()
    if address in (None, *_LOCAL):
        return
    with open(os.environ["RECSPAN_TEST_NETWORK_LOG"], "a") as log:
        log.write(f"{event} {address}: {' < '.join(frame.name for frame in reversed(traceback.extract_stack()))}\n")
    raise OSError(f"{event} {address}: this test has no network")


if "RECSPAN_TEST_NETWORK_LOG" in os.environ:
    sys.addaudithook(_refuse)
