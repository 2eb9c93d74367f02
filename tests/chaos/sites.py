"""A site as a process of its own, without Flower's SuperLink between: one message a connection.

The same ClientApp runs as under a SuperNode. `RemoteSites` replaces it in the coordinator's
process, so that the in-process Grid reaches sites that may die.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from google.protobuf.message import DecodeError

from wardround.transport.flower import identity as flower
from wardround.transport.flower.messages import ErrorCode
from wardround_client.app.client_app import SITE_KEY
from wardround_client.app.client_app import app as site_app

_LENGTH_BYTES = 8
_MAX_BYTES = 1 << 30
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 120.0
_REQUEST_SECONDS = 10.0


class RemoteSites(ClientApp):
    """Hands each message on to the process of its site."""

    def __init__(self, ports: Sequence[int]) -> None:
        """Know where the sites are.

        Args:
            ports: on loopback, by partition.
        """
        super().__init__()
        self._ports = list(ports)

    def __call__(self, message: Message, context: Context) -> Message:
        """Ask the site; one that is away answers as a node that is away."""
        port = self._ports[int(context.node_config["partition-id"])]
        try:
            with socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                _send(connection, message)
                answer = _receive(connection)
        except (OSError, ValueError) as error:
            away = Error(ErrorCode.NODE_UNAVAILABLE, f"site process: {error}")
            return Message(away, reply_to=message)
        if answer.has_error():
            return Message(answer.error, reply_to=message)
        return Message(answer.content, reply_to=message)


def serve_site(home: Path, port: int) -> None:
    """Answer messages for the site of a home, one at a time, until this process is ended."""
    flower.assume_server_identity(1)
    with socket.create_server(("127.0.0.1", port), reuse_port=False) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(_REQUEST_SECONDS)
                try:
                    message = _receive(connection)
                    connection.settimeout(_ANSWER_SECONDS)
                    _send(connection, _answered(message, home))
                except (OSError, ValueError, DecodeError):
                    continue  # the caller has gone


def _answered(message: Message, home: Path) -> Message:
    asked = message.metadata
    context = Context(asked.run_id, asked.dst_node_id, {SITE_KEY: str(home)}, RecordDict(), {})
    try:
        return site_app(message=message, context=context)
    except Exception as error:  # noqa: BLE001  the boundary of a site: its bugs stay its own
        reason = f"{type(error).__name__}: {error}"
        return Message(
            Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason[:1000]), reply_to=message
        )


def _send(connection: socket.socket, message: Message) -> None:
    data: bytes = message_to_proto(message).SerializeToString()
    connection.sendall(len(data).to_bytes(_LENGTH_BYTES, "big") + data)


def _receive(connection: socket.socket) -> Message:
    length = int.from_bytes(_exactly(connection, _LENGTH_BYTES), "big")
    if length > _MAX_BYTES:
        raise ValueError(f"a message of {length} bytes")
    return message_from_proto(ProtoMessage.FromString(_exactly(connection, length)))


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(min(count - len(data), 1 << 20))
        if not part:
            raise ConnectionError("the connection ended inside a message")
        data += part
    return bytes(data)
