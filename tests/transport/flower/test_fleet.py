"""The site's layer in Flower's SuperNode, held against Flower's own code."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.supercore import heartbeat
from flwr.supercore.constant import TaskType
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode import main as supernode
from flwr.supernode.cli.flower_supernode import (
    _try_obtain_trusted_entities,
    _validate_public_keys_ed25519,
)
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.start_client_internal import _verify_fab

from wardround.protocol.code import code_digest
from wardround.protocol.identifiers import Digest
from wardround.transport.bundle import write_bundle
from wardround.transport.errors import TransportError
from wardround.transport.flower import fleet
from wardround.transport.flower.fleet import BundleGate, check_flower
from wardround.transport.flower.messages import reason_of
from wardround.transport.flower.waiting import Clock, HeldAnswers

FILES = {
    f"{name}/__init__.py": b"" for name in ("wardround", "wardround_client", "wardround/learning")
}
FILES["wardround/protocol/__init__.py"] = b"# approved\n"
BUNDLE = write_bundle(FILES)
CHANGED = write_bundle({**FILES, "wardround/protocol/__init__.py": b"# changed\n"})
APPROVED = Digest(code_digest(FILES))


def fab_of(content: bytes, verifications: dict[str, str] | None = None) -> Fab:
    return Fab(sha256(content).hexdigest(), content, verifications or {})


class Gated:
    """A gate, and whom Flower trusts because of it."""

    def __init__(self, folder: Path, *approved: Digest) -> None:
        self.approved = frozenset(approved)
        self.said: list[str] = []
        self.gate = BundleGate(lambda: self.approved, self.said.append)
        self.gate.write_trust(folder / "trusted.yaml")
        trusted = _try_obtain_trusted_entities(folder / "trusted.yaml")
        assert trusted
        _validate_public_keys_ed25519(trusted)
        self.trusted = trusted

    def passes(self, fab: Fab) -> bool:
        """Whether Flower would take what the gate hands on; whatever it refuses is empty."""
        passed = self.gate.pass_on(fab)
        signed = bool(passed.verifications.get("valid_license"))
        taken = signed and _verify_fab(passed, self.trusted)
        assert passed.content == (fab.content if taken else b"")
        return taken


def test_approved_bundle_passes(tmp_path: Path) -> None:
    gated = Gated(tmp_path, APPROVED)
    assert gated.passes(fab_of(BUNDLE))
    assert gated.said[0].startswith("the coordinator's code is the approved one (0x")


def test_changed_bundle_does_not_pass(tmp_path: Path) -> None:
    gated = Gated(tmp_path, APPROVED)
    assert not gated.passes(fab_of(CHANGED))
    assert not gated.passes(fab_of(CHANGED))
    (words,) = gated.said  # once, though it was sent twice
    assert "refused: its digest is 0x" in words


def test_nothing_passes_where_nothing_was_approved(tmp_path: Path) -> None:
    gated = Gated(tmp_path)
    assert not gated.passes(fab_of(BUNDLE))
    assert "approved no study" in gated.said[0]


def test_approval_counts_from_the_next_message_on(tmp_path: Path) -> None:
    gated = Gated(tmp_path)
    assert not gated.passes(fab_of(BUNDLE))
    gated.approved = frozenset({APPROVED})
    assert gated.passes(fab_of(BUNDLE))
    gated.approved = frozenset()
    assert not gated.passes(fab_of(BUNDLE))


def test_bundle_under_the_name_of_another_does_not_pass(tmp_path: Path) -> None:
    gated = Gated(tmp_path, APPROVED)
    assert not gated.passes(Fab(sha256(CHANGED).hexdigest(), BUNDLE, {}))
    assert not gated.passes(Fab("../../x", BUNDLE, {}))


def test_signature_of_somebody_else_counts_for_nothing(tmp_path: Path) -> None:
    other, gated = tmp_path / "other", Gated(tmp_path, APPROVED)
    other.mkdir()
    stranger = Gated(
        other, Digest(code_digest({**FILES, "wardround/protocol/__init__.py": b"# changed\n"}))
    )
    forged = stranger.gate.pass_on(fab_of(CHANGED))
    assert forged.content == CHANGED
    assert not gated.passes(forged)
    # Past the gate, it would still not be trusted.
    assert not _verify_fab(forged, gated.trusted)


def test_nothing_is_trusted_without_the_gate(tmp_path: Path) -> None:
    """If the layer were not there, a bundle would come without its signature."""
    gated = Gated(tmp_path, APPROVED)
    bare = fab_of(BUNDLE)
    assert not bare.verifications.get("valid_license")
    assert not _verify_fab(bare, gated.trusted)


# ---------------------------------------------------------------- the rest of the layer


def connection_of(**parts: Any) -> Callable[..., Any]:
    """A connection as Flower makes it: eight functions, the node's id first."""
    names = ("node_id", "receive", "send", "get_run", "get_fab", "pull", "push", "confirm")

    @contextmanager
    def connect(*_: Any, **__: Any) -> Iterator[tuple[Any, ...]]:
        yield tuple(parts.get(name) for name in names)

    return connect


def layered(tmp_path: Path, said: list[str], **parts: Any) -> Any:
    gate = BundleGate(lambda: frozenset({APPROVED}), said.append)
    return fleet._layered(connection_of(**parts), gate, said.append)()


def run_of(**changes: Any) -> Run:
    run = Run.create_empty(7)
    return replace(
        run, fab_id="wardround/wardround", fab_version="1.2.3", fab_hash="ab" * 32, **changes
    )


def test_bundle_goes_through_the_gate_on_its_way(tmp_path: Path) -> None:
    said: list[str] = []
    with layered(tmp_path, said, get_fab=lambda *_: fab_of(CHANGED)) as parts:
        assert parts[4]("hash", 7) == Fab(sha256(CHANGED).hexdigest(), b"", {})
    with layered(tmp_path, said, get_fab=lambda *_: fab_of(BUNDLE)) as parts:
        assert parts[4]("hash", 7).content == BUNDLE


def test_coordinator_that_holds_no_answer_is_asked_four_times_a_second(tmp_path: Path) -> None:
    message = SimpleNamespace(metadata=SimpleNamespace(message_type="train", group_id="1"))
    answers, asked = [None] * 9 + [(message, None)], []

    def receive() -> Any:
        asked.append(time.monotonic())
        return answers.pop(0)

    said: list[str] = []
    with layered(tmp_path, said, receive=receive) as parts:
        assert parts[1]() == (message, None)
    assert said[-1] == "the coordinator asks to train (round 1)"
    # Four at once, so that none waits who is to ask again; then a second for each four.
    assert asked[3] - asked[0] < 0.5
    assert asked[4] - asked[0] >= 1.0
    assert asked[8] - asked[0] >= 2.0


def test_plain_run_is_passed_on(tmp_path: Path) -> None:
    with layered(tmp_path, [], get_run=lambda run_id: run_of()) as parts:
        assert parts[3](7) == run_of()


@pytest.mark.parametrize(
    "changes",
    [
        {"primary_task_type": TaskType.AGENT_APP},
        {"primary_task_type": TaskType.SIMULATION},
        {"primary_task_type": ""},
        {"override_config": {"network": "/somewhere"}},
        {"fab_id": "other/app"},
        {"fab_id": "../../x"},
        {"fab_version": "1/../../x"},
        {"fab_version": ""},
        {"fab_hash": "AB" * 32},
        {"fab_hash": "../x"},
    ],
)
def test_other_run_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    said: list[str] = []
    run = replace(run_of(), **changes)
    with (
        layered(tmp_path, said, get_run=lambda run_id: run) as parts,
        pytest.raises(RunNotRunningException),
    ):
        parts[3](7)
    assert "run is refused" in said[-1]


def test_layer_knows_the_flower_it_was_tested_with() -> None:
    check_flower(version("flwr"), start_client_internal.http_request_response)
    with pytest.raises(TransportError, match=r"its version is 1\.42\.0"):
        check_flower("1.42.0", start_client_internal.http_request_response)
    with pytest.raises(TransportError, match="its connection takes one two"):
        check_flower(version("flwr"), lambda one, two: None)


def test_connection_with_other_parts_is_refused(tmp_path: Path) -> None:
    @contextmanager
    def connect() -> Iterator[tuple[Any, ...]]:
        yield (1, 2, 3)

    layered = fleet._layered(connect, BundleGate(frozenset, print), print)
    with pytest.raises(TransportError, match="3 parts"), layered():
        pass


def test_layer_is_put_where_flower_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = start_client_internal.http_request_response
    monkeypatch.setattr(start_client_internal, "http_request_response", before)
    monkeypatch.setattr(fleet_http_connection, "FleetHttpClient", FleetHttpClient)
    for module in (fleet_http_connection, heartbeat):
        monkeypatch.setattr(module, "HEARTBEAT_DEFAULT_INTERVAL", 30)
    make = fleet_http_connection.make_simple_http_retry_invoker
    monkeypatch.setattr(fleet_http_connection, "make_simple_http_retry_invoker", make)
    monkeypatch.setattr(supernode, "create_app", supernode.create_app)
    for name in ("time", "pull_objects"):
        monkeypatch.setattr(start_client_internal, name, vars(start_client_internal)[name])
    fleet.install(BundleGate(frozenset, print), 1000, print)
    assert start_client_internal.http_request_response is not before
    assert issubclass(fleet_http_connection.FleetHttpClient, FleetHttpClient)
    assert fleet_http_connection.FleetHttpClient is not FleetHttpClient
    eager = fleet_http_connection.make_simple_http_retry_invoker()
    pauses, flowers = eager.wait_gen_factory(), make().wait_gen_factory()
    assert [next(pauses) for _ in range(7)] == [1, 2, 3, 3, 3, 3, 3]
    assert max(next(flowers) for _ in range(7)) == 20
    assert vars(fleet_http_connection)["HEARTBEAT_DEFAULT_INTERVAL"] == 10
    assert vars(heartbeat)["HEARTBEAT_DEFAULT_INTERVAL"] == 10
    assert isinstance(supernode.create_app(), HeldAnswers)
    assert isinstance(vars(start_client_internal)["time"], Clock)


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """Give who comes one answer after the other, and the last to all who come later."""
    server = socket.create_server(("127.0.0.1", 0))
    left = list(answers)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(left.pop(0) if len(left) > 1 else left[0])
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):  # else what was not read resets the connection
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def asked(port: int, max_bytes: int = 1000) -> Any:
    bounded = fleet._changed(FleetHttpClient, max_bytes, print)
    with bounded.from_server_address(f"127.0.0.1:{port}", True, None, []) as client:
        return client.GetRun(start_client_internal_request())


def start_client_internal_request() -> Any:
    from flwr.proto.run_pb2 import GetRunRequest

    return GetRunRequest(run_id=7)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"


def test_short_answer_is_read() -> None:
    with answering(HEAD + b"Content-Length: 0\r\n\r\n") as port:
        assert asked(port).ByteSize() == 0


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        b"\r\n" + b"x" * 5000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n" + b"1\r\nx\r\n",
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxxx",
    ],
)
def test_long_answer_is_not_read_to_its_end(rest: bytes) -> None:
    with answering(HEAD + rest) as port, pytest.raises(TransportError, match="1,000 bytes"):
        asked(port)


def test_redirection_is_not_followed() -> None:
    """A coordinator could send the site's process to any machine behind the hospital's wall."""
    with answering(HEAD + b"Content-Length: 0\r\n\r\n") as inside:
        location = f"Location: http://127.0.0.1:{inside}/v1/fleet/get-run\r\n".encode()
        answer = b"HTTP/1.1 307 Temporary Redirect\r\n" + location + b"Content-Length: 0\r\n\r\n"
        with answering(answer) as outside, pytest.raises(httpx.HTTPStatusError):
            asked(outside)


def refusing(status: bytes, body: bytes) -> bytes:
    length = f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\n" + length + body


def activated(answers: list[bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """Activate a node at a SuperLink that gives these answers, one after the other."""
    from flwr.proto.fleet_pb2 import ActivateNodeRequest

    said: list[str] = []
    monkeypatch.setattr(fleet, "_ACTIVATION_PAUSE_SECONDS", 0.01)
    returning = fleet._changed(FleetHttpClient, 1000, said.append)
    with (
        answering(*answers) as port,
        returning.from_server_address(f"127.0.0.1:{port}", True, None, []) as client,
    ):
        return client.ActivateNode(ActivateNodeRequest(public_key=b"k")), said


def flower_error(code: int) -> bytes:
    return json.dumps(FlowerError(code, "").to_json("no")).encode()


FAILED = flower_error(ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED)
NOT_ALLOWED = flower_error(ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL)


def test_node_whose_predecessor_was_killed_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = refusing(b"400 Bad Request", FAILED)
    found, said = activated(
        [refused, refused, HEAD + b"Content-Length: 2\r\n\r\n\x08\x07"], monkeypatch
    )
    assert found.node_id == 7
    assert said == ["the coordinator still counts the connection before; waiting for its end"]


def test_node_waits_for_its_predecessors_end_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "_ACTIVATION_SECONDS", 0.5)
    with pytest.raises(httpx.HTTPStatusError):
        activated([refusing(b"400 Bad Request", FAILED)], monkeypatch)


@pytest.mark.parametrize("body", [NOT_ALLOWED, b"", b"nonsense", b"[]", b'{"code": "x"}'])
def test_node_that_is_refused_otherwise_does_not_wait(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        activated([refusing(b"401 Unauthorized", body), b"never asked for"], monkeypatch)


@pytest.mark.parametrize(("known", "signals"), [(False, [signal.SIGINT]), (True, [])])
def test_node_that_a_new_superlink_does_not_know_leaves(
    known: bool, signals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key may be enrolled again before it asks; its connection is gone all the same."""
    from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse

    sent: list[int] = []
    monkeypatch.setattr(fleet.os, "kill", lambda process, number: sent.append(number))
    body = SendNodeHeartbeatResponse(success=known).SerializeToString()
    answer = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    changed = fleet._changed(FleetHttpClient, 1000, print)
    with (
        answering(answer) as port,
        changed.from_server_address(f"127.0.0.1:{port}", True, None, []) as client,
    ):
        client.SendNodeHeartbeat(SendNodeHeartbeatRequest())
    assert sent == signals


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "<class 'wardround_client.errors.Withheld'>:<'round-over; see\nthe log.'>",
            "round-over; see the log.",
        ),
        ("<class 'KeyError'>:<''x''>", "KeyError: 'x'"),
        ("plain words", "plain words"),
        (None, "no reason given"),
        ("", "no reason given"),
        ("x" * 1000, "x" * 1000),
    ],
)
def test_reason_is_one_line(given: str | None, line: str) -> None:
    assert reason_of(given) == line


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            "<class 'wardround_client.errors.Withheld'>:"
            "<'round-over; the site's own log says more.'>",
            "asked once more, but the round is closed: there is nothing to do",
        ),
        (
            "<class 'KeyError'>:<''round-overdue''>",
            "answered with an error: KeyError: 'round-overdue'",
        ),
    ],
)
def test_late_question_is_told_as_what_it_is(reason: str, words: str) -> None:
    said: list[str] = []
    error = SimpleNamespace(reason=reason)
    message = SimpleNamespace(has_error=lambda: True, error=error)
    fleet._telling(lambda *sent: None, said.append)(message, None, 0.0)
    assert said == [words]
