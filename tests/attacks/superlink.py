"""A real SuperLink as a process, a ServerApp's place at it, and nodes that push what they like."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import fab_to_proto, message_from_proto, message_to_proto, run_from_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
    RegisterNodeFleetRequest,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    TaskType,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.date import now
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid.http_grid import HttpGrid
from google.protobuf.message import Message as ProtobufMessage

from wardround.host.code import training_files
from wardround.transport.bundle import write_bundle
from wardround.transport.flower.programs import flower_environment
from wardround.transport.ports import free_port

_Client = TypeVar("_Client", bound=ProtobufClient)

START_SECONDS = 180.0
_HEARTBEAT_SECONDS = 1800.0
#: How often a ServerApp says that it lives.
_LIVE_SECONDS = 10.0
#: The SuperLink takes a signature for 300.
_SIGNED_SECONDS = 60.0
#: On a machine with many times the work it has cores for.
_CALL_SECONDS = 120.0


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
    process_id: of the process.
    """

    port: int
    process_id: int

    def _client(self, kind: type[_Client]) -> _Client:
        return kind.from_server_address(
            server_address=f"127.0.0.1:{self.port}",
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
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
        # Else its token ends after six minutes.
        over = threading.Event()

        def live() -> None:
            while not over.wait(_LIVE_SECONDS):
                with suppress(httpx.HTTPError):
                    grid._runtime_client.SendTaskHeartbeat(SendTaskHeartbeatRequest())

        alive = threading.Thread(target=live)
        alive.start()
        try:
            yield grid
        finally:
            over.set()
            alive.join()
            grid.close()

    @contextmanager
    def nodes(self, count: int) -> Iterator[Nodes]:
        """Connect nodes."""
        nodes = Nodes(self.port)
        try:
            for _ in range(count):
                nodes.connect()
            yield nodes
        finally:
            nodes.close()


class Refused(Exception):
    """The SuperLink answers with an error, or closes the connection on what is sent.

    Attributes:
        status: of the answer; 0 where there is none.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"HTTP {status}")


@dataclass
class Nodes:
    """Connected nodes, each with its own key; those of a thread share a connection.

    Flower's client takes five times as long for a request, and most of what a node does is
    requests.

    Attributes:
        port: of the SuperLink.
        keys: by node.
    """

    port: int
    keys: dict[int, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    _of_thread: threading.local = field(default_factory=threading.local)
    _lines: list[HTTPConnection] = field(default_factory=list)
    _signed: dict[int, tuple[float, dict[str, str]]] = field(default_factory=dict)

    @property
    def ids(self) -> list[int]:
        return list(self.keys)

    def connect(self) -> None:
        """Register a new node, and activate it."""
        private = ec.generate_private_key(ec.SECP256R1())
        signed, key = _signature(private), _public_pem(private)
        self._post("register-node", signed, RegisterNodeFleetRequest(public_key=key))
        activate = ActivateNodeRequest(public_key=key, heartbeat_interval=_HEARTBEAT_SECONDS)
        answer = ActivateNodeResponse.FromString(self._post("activate-node", signed, activate))
        self.keys[answer.node_id] = private

    def close(self) -> None:
        for line in self._lines:
            line.close()

    def question(self, node: int) -> Message | None:
        """The next question to a node, without its objects."""
        request = PullMessagesRequest(node=Node(node_id=node))
        data = self._post("pull-messages", self._headers(node), request)
        found = PullMessagesResponse.FromString(data).messages_list
        return message_from_proto(found[0]) if found else None

    def announce(self, node: int, request: PushMessagesRequest) -> PushMessagesResponse:
        """Announce replies.

        Raises:
            Refused: the SuperLink does not take it.
        """
        data = self._post("push-messages", self._headers(node), request)
        return PushMessagesResponse.FromString(data)

    def push(self, node: int, reply: Pushed, objects: Iterable[str] | None = None) -> bool:
        """Push a reply, with all or only some of the objects that the SuperLink lacks.

        Returns:
            Whether the reply, of which objects may not be, is taken.
        """
        request = PushMessagesRequest(
            node=Node(node_id=node),
            messages_list=[reply.proto()],
            message_object_trees=[reply.tree],
        )
        try:
            answer = self.announce(node, request)
        except Refused:
            return False
        lacking = set(answer.objects_to_push)
        for name in reply.objects if objects is None else objects:
            if name in lacking:
                sent = PushObjectRequest(
                    node=Node(node_id=node),
                    run_id=reply.message.metadata.run_id,
                    object_id=name,
                    object_content=reply.objects[name],
                    session_id=answer.session_id,
                )
                with suppress(Refused):
                    self._post("push-object", self._headers(node), sent)
        return bool(lacking)

    def _headers(self, node: int) -> dict[str, str]:
        """A node's signature of the time, as long as the SuperLink surely takes it."""
        made_at, headers = self._signed.get(node, (-math.inf, {}))
        if time.monotonic() - made_at >= _SIGNED_SECONDS:
            headers = _signature(self.keys[node])
            self._signed[node] = time.monotonic(), headers
        return headers

    def _post(self, call: str, headers: dict[str, str], request: ProtobufMessage) -> bytes:
        line = getattr(self._of_thread, "line", None)
        if line is None:
            line = HTTPConnection("127.0.0.1", self.port, timeout=_CALL_SECONDS)
            self._of_thread.line = line
            self._lines.append(line)
        body = request.SerializeToString()
        for attempt in range(2):
            try:
                line.request("POST", f"/v1/fleet/{call}", body, headers)
                answer = line.getresponse()
                data = answer.read()
            except (OSError, HTTPException):
                # The SuperLink closes what was idle, and what it refuses unread.
                line.close()
                if attempt:
                    raise Refused(0) from None
                continue
            if answer.status >= HTTPStatus.BAD_REQUEST:
                raise Refused(answer.status)
            return data
        raise AssertionError


def _public_pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form)


def _signature(private: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The headers of a node's request, signed now."""
    stated = now().isoformat()
    signature = sign_message(private, stated.encode())
    return {
        "content-type": PROTOBUF_MEDIA_TYPE,
        "accept": PROTOBUF_MEDIA_TYPE,
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(_public_pem(private)).decode(),
        TIMESTAMP_HEADER: stated,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode(),
    }


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
            yield SuperLinkProcess(port, process.pid)
        finally:
            process.terminate()


def _is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0).is_success
    except httpx.HTTPError:
        return False
