"""Ports of this machine that a service can listen at, and keep over its restarts."""

from __future__ import annotations

import errno
import secrets
import socket
from pathlib import Path

from wardround.transport.errors import PeerAway, TransportError

#: The kernel's range of ports for outgoing connections (Linux).
_LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: Below are ports that services are known by, and all those that browsers refuse to open.
_FIRST_PORT = 20_000
#: The kernels' usual first lent port: of Linux; FreeBSD and macOS begin higher.
_USUAL_FIRST_LENT = 32_768
_FEWEST_PORTS = 1_000
_TRIES = 100


def check_free(host: str, port: int) -> None:
    """Check that a port of this machine is free.

    Raises:
        TransportError: another program listens there.
        PeerAway: the host is not an address of this machine.
    """
    if not _is_free(host, port):
        raise TransportError(
            f"port {port} of {host} is in use: stop the program that listens there, "
            "or name another port."
        )


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise PeerAway(f"{host}:{port}", error.strerror or str(error)) from error
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Choose a free port for a service.

    Not one that the kernel would choose (port 0): those it also lends to every outgoing
    connection, so while a service restarts, a stranger's connection may hold its port.

    Raises:
        PeerAway: the host is not an address of this machine.
    """
    ports = range(_FIRST_PORT, _first_lent())
    if len(ports) >= _FEWEST_PORTS:
        for _ in range(_TRIES):
            port = secrets.choice(ports)
            if _is_free(host, port):
                return port
    check_free(host, 0)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        lent: int = probe.getsockname()[1]
    return lent


def _first_lent() -> int:
    try:
        return int(_LENT.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_FIRST_LENT
