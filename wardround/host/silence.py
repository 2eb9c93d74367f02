"""How soon a connection notices that the network drops its packets.

TCP retransmits with doubling pauses for a quarter of an hour, and a process that only waits for an
answer gets no error at all. Our connections are closed after some seconds without an
acknowledgement, and their owner opens new ones. A slow answer closes none: the other side has
acknowledged the request.
"""

from __future__ import annotations

import socket

#: Without an acknowledgement, until a connection is given up.
SILENCE_SECONDS = 8
#: For opening a connection.
CONNECT_SECONDS = 5.0
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 4, 2, 2


def silence_options() -> list[tuple[int, int, int]]:
    """Options for a TCP socket: level, name, value; those that this system knows."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    values = {
        "TCP_KEEPIDLE": _IDLE_SECONDS,
        "TCP_KEEPALIVE": _IDLE_SECONDS,  # macOS
        "TCP_KEEPINTVL": _PROBE_SECONDS,
        "TCP_KEEPCNT": _PROBES,
        "TCP_USER_TIMEOUT": SILENCE_SECONDS * 1000,  # Linux
    }
    for name, value in values.items():
        number = getattr(socket, name, None)
        if number is not None:
            options.append((socket.IPPROTO_TCP, number, value))
    return options


def notice_silence(connection: socket.socket) -> None:
    """Let an open connection notice."""
    for level, name, value in silence_options():
        connection.setsockopt(level, name, value)
