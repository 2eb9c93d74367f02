"""What every message needs beyond Flower's public API: the task's identity and message ids.

Flower's own runtime fills both in: the `Message` constructor reads the identity of the running
task, and the server gives each message its id. The engines set them through this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from flwr.app import Context, Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.clientapp.client_app import LoadClientAppError as LoadClientAppError
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.server.utils.validator import validate_message
from flwr.supercore import telemetry
from flwr.supercore.run import Run as Run
from flwr.supercore.task_identity import TaskIdentity

from wardround.transport.flower.programs import QUIET_ENVIRONMENT

SERVER_NODE_ID: int = SUPERLINK_NODE_ID
"""The node id of every ServerApp; no site may have it."""

_Plain = TypeVar("_Plain", Context, Metadata, Run)

_TASK_ID = 1  # one server task a process; Flower's own Python entry point uses the same number


def silence_flower() -> None:
    """Turn off telemetry, update checks and usage statistics of Flower and Ray, in this process."""
    os.environ.update(QUIET_ENVIRONMENT)
    telemetry.FLWR_TELEMETRY_ENABLED = "0"  # Flower has read the environment when it was imported


def assume_server_identity(run_id: int) -> None:
    """Let this process create messages as the ServerApp of a run.

    Args:
        run_id: identifies the run, 1 .. 2**64 - 1.
    """
    TaskIdentity.task_id = _TASK_ID
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = SERVER_NODE_ID


@contextmanager
def server_identity(run_id: int) -> Iterator[None]:
    """Assume the server's identity for a block, then put back the one before."""
    before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)
    assume_server_identity(run_id)
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before


def set_message_id(message: Message) -> None:
    """Give a message a new id, which Flower's constructor leaves empty."""
    message.metadata.__dict__["_message_id"] = str(uuid4())


def clone(plain: _Plain) -> _Plain:
    """Copy a context, a run or metadata, one level deep; `copy.copy` takes three times as long."""
    twin: _Plain = object.__new__(type(plain))
    twin.__dict__.update(plain.__dict__)
    return twin


def items_of(record: MutableMapping[str, Any]) -> dict[str, Any]:
    """Reach the dict inside one of Flower's records, past the type check of every assignment.

    To be used only to replace values by copies of the same type.
    """
    items: dict[str, Any] = record.__dict__["_data"]
    return items


def with_content(metadata: Metadata, content: RecordDict) -> Message:
    """Build a message from its own copy of some metadata, and a content."""
    return make_message(metadata=clone(metadata), content=content)


def faults_of_reply(message: Message, asked: Metadata) -> list[str]:
    """List what Flower's link state would reject in a reply.

    A reply that names another run, request or sender is rejected too.

    Args:
        message: the reply, with its id set.
        asked: metadata of the request, as the server sent it.
    """
    faults = validate_message(message, is_reply_message=True)
    found = message.metadata
    if found.run_id != asked.run_id:
        faults.append("`metadata.run_id` is not that of the request")
    if found.reply_to_message_id != asked.message_id:
        faults.append("`metadata.reply_to_message_id` is not that of the request")
    if found.src_node_id != asked.dst_node_id:
        faults.append("`metadata.src_node_id` is not the node that was asked")
    return faults


def error_reply(asked: Metadata, code: int, reason: str) -> Message:
    """Build the error that a node's runtime sends when its ClientApp gave no usable reply."""
    reply = Message(Error(code, reason), reply_to=make_message(clone(asked), content=RecordDict()))
    set_message_id(reply)
    return reply
