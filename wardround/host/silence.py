"""How soon a connection notices that the network fails without a word.

TCP alone is patient. It sends again what nobody acknowledges, after pauses that double, for a
quarter of an hour: a network that was silent for a minute is noticed to be well again up to a
minute later. Who only waits for an answer is never told. So a connection of ours is given up after
some seconds in which the other side acknowledges nothing, and its owner opens another one. An
answer that is only slow is not meant: the other side acknowledges the question.
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
