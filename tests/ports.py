"""Ports of this machine."""

import socket


def free_ports(count: int) -> list[int]:
    """Numbers of ports that nobody listens on; distinct."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
