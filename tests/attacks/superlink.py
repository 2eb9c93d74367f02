"""A real SuperLink as a process, a ServerApp's place at it, and nodes that push what they like."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.common.serde import fab_to_proto, message_from_proto, message_to_proto, run_from_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClient, ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid.http_grid import HttpGrid
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from wardround.host.code import training_files
from wardround.transport.bundle import write_bundle
from wardround.transport.flower.programs import flower_environment
from wardround.transport.ports import free_port

_Client = TypeVar("_Client", bound=ProtobufClient)

START_SECONDS = 180.0
_HEARTBEAT_SECONDS = 1800.0


@dataclass
class Pushed:
    """A reply as its node pushes it, every part of it the node's choice.

    Attributes:
        message: with the metadata that the node states; its content does not travel.
        tree: announced.
        objects: by name, in the order in which they are pushed.
    """

    message: Message
    tree: ObjectTree
    objects: dict[str, bytes]

    @classmethod
    def of(cls, message: Message) -> Pushed:
        """A reply as Flower pushes it."""
        message.metadata.__dict__["_message_id"] = message.object_id
        objects = {key: one.deflate() for key, one in get_all_nested_objects(message).items()}
        return cls(message, get_object_tree(message), objects)

    def proto(self) -> ProtoMessage:
        """The message without its content, as Flower sends it."""
        proto = message_to_proto(self.message)
        proto.ClearField("content")
        if not self.message.has_error():
            proto.content.SetInParent()
        return proto


@dataclass
class SuperLinkProcess:
    """Attributes:
    port: of all its interfaces, on loopback, in plain text.
    """

    port: int

    def _client(self, kind: type[_Client], *more: ProtobufClientInterceptor) -> _Client:
        return kind.from_server_address(
            server_address=f"127.0.0.1:{self.port}",
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI"), *more],
        )

    @contextmanager
    def served(self) -> Iterator[HttpGrid]:
        """Start a run, and take the place of its ServerApp."""
        bundle = write_bundle(training_files())
        fab = fab_to_proto(Fab(sha256(bundle).hexdigest(), bundle, {}))
        control = self._client(ControlHttpClient)
        control.StartRun(StartRunRequest(fab=fab))
        control.close()
        runtime = self._client(RuntimeHttpClient)
        task = runtime.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
        runtime.close()
        grid = HttpGrid(f"127.0.0.1:{self.port}", insecure=True, token=task.token)
        grid.set_run(run_from_proto(grid._runtime_client.PullTaskInput(PullTaskInputRequest()).run))
        try:
            yield grid
        finally:
            grid.close()

    @contextmanager
    def nodes(self, count: int) -> Iterator[Nodes]:
        """Connect nodes."""
        clients = {}
        for _ in range(count):
            private = ec.generate_private_key(ec.SECP256R1())
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            key = private.public_key().public_bytes(serialization.Encoding.PEM, form)
            signed = NodeAuthHttpInterceptor(private, private.public_key())
            client = self._client(FleetHttpClient, signed)
            client.RegisterNode(RegisterNodeFleetRequest(public_key=key))
            activate = ActivateNodeRequest(public_key=key, heartbeat_interval=_HEARTBEAT_SECONDS)
            clients[client.ActivateNode(activate).node_id] = client
        try:
            yield Nodes(clients)
        finally:
            for client in clients.values():
                client.close()


@dataclass
class Nodes:
    """Connected nodes, each with its own key."""

    clients: dict[int, FleetHttpClient]

    @property
    def ids(self) -> list[int]:
        return list(self.clients)

    def question(self, node: int) -> Message | None:
        """The next question to a node, without its objects."""
        request = PullMessagesRequest(node=Node(node_id=node))
        try:
            answer = self.clients[node].PullMessages(request)
        except httpx.TransportError:
            # What this node pushed before was refused unread, and the connection with it.
            answer = self.clients[node].PullMessages(request)
        return message_from_proto(answer.messages_list[0]) if answer.messages_list else None

    def push(self, node: int, reply: Pushed, objects: Iterable[str] | None = None) -> None:
        """Push a reply, with all or only some of its objects; what is not taken is not."""
        client, me, about = self.clients[node], Node(node_id=node), reply.message.metadata
        request = PushMessagesRequest(
            node=me, messages_list=[reply.proto()], message_object_trees=[reply.tree]
        )
        with suppress(httpx.HTTPStatusError, httpx.TransportError):
            session = client.PushMessages(request).session_id
            for name in reply.objects if objects is None else objects:
                client.PushObject(
                    PushObjectRequest(
                        node=me,
                        run_id=about.run_id,
                        object_id=name,
                        object_content=reply.objects[name],
                        session_id=session,
                    )
                )


@contextmanager
def superlink_in(folder: Path) -> Iterator[SuperLinkProcess]:
    """Run a SuperLink as the coordinator does, but in plain text, and without a ServerApp."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "wardround.transport.flower.superlink", "--insecure"),
        *("--host", "127.0.0.1", "--port", str(port), "--isolation", "process"),
        "--disable-runtime-dependency-installation",
    ]
    log = folder / "superlink.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, env=flower_environment(folder, os.environ), stdout=out, stderr=out
        ) as process,
    ):
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _is_up(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield SuperLinkProcess(port)
        finally:
            process.terminate()


def _is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0).is_success
    except httpx.HTTPError:
        return False
