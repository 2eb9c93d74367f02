"""Flower's error codes, its node key header, and messages as bytes."""

from __future__ import annotations

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER as NODE_KEY_HEADER

__all__ = ["NODE_KEY_HEADER", "ErrorCode", "message_bytes", "message_from_bytes"]


def message_bytes(message: Message) -> bytes:
    """Serialise a message."""
    data: bytes = message_to_proto(message).SerializeToString()
    return data


def message_from_bytes(data: bytes) -> Message:
    """Read what `message_bytes` wrote.

    Raises:
        ValueError: not a message.
    """
    try:
        return message_from_proto(ProtoMessage.FromString(data))
    except Exception as error:  # protobuf's and flwr's have no parent in common
        raise ValueError("not a message") from error
