"""The site's own layer between Flower's SuperNode and what a coordinator sends it.

Everything that is taken from Flower's inside for it is here, and `install` refuses to work on a
Flower that it was not tested with.

- **Code.** With `--trusted-entities` Flower runs only bundles that a trusted entity has signed. The
  one trusted entity is this process: it checks each bundle where it is fetched, and signs the
  approved one with a key that is made at the start and kept in memory. Any other is replaced by an
  empty one. Fails closed: without this layer no bundle is signed, so none runs.
- **Size and place.** Answers are read up to a limit, and redirections are not followed: a
  coordinator must not send the site's process elsewhere in the hospital's network.
- **Waiting.** Flower asks for work, and sleeps three seconds when there is none; here the
  coordinator holds its empty answer until there may be some (`wardround.transport.flower.waiting`)
  and is asked again at once, but no more than four times a second. After a failure Flower waits up
  to twenty seconds, and on a network that is silent for thirty before it takes that for one; both
  are shorter here (`wardround.host.silence`).
- **Restarts.** A killed SuperNode counts as connected until its heartbeats have been missed for a
  minute; until then the SuperLink rejects its successor, which ends. Here the heartbeat interval is
  shorter, and a restarted SuperNode retries. A SuperLink that was started anew knows no connection:
  where it knows no key either, Flower ends the SuperNode, which is started again; here also where
  it knows the key already, because Flower then waits for work that never comes.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.supercore.constant import TaskType
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.primitives.asymmetric_ed25519 import create_message_to_sign
from flwr.supercore.retry import RetryInvoker, RetryState, constant
from flwr.supercore.run import Run, RunNotRunningException

from wardround.host.silence import CONNECT_SECONDS, notice_silence
from wardround.protocol.code import code_digest
from wardround.protocol.identifiers import Digest, hex_of
from wardround.transport.bundle import PROJECT, PUBLISHER, VERSION, read_bundle
from wardround.transport.errors import BundleRefused, flower_changed
from wardround.transport.flower.answers import bounded_answers
from wardround.transport.flower.messages import reason_of
from wardround.transport.flower.programs import TESTED_FLOWER, asking_soon
from wardround.transport.flower.waiting import hold_supernode
from wardround.transport.supervision import Say

#: Gives the digests of the code that the site approved, as of now.
Approved = Callable[[], frozenset[Digest]]

#: The entity that Flower trusts: this process.
_ENTITY = "wardround-site"
#: How often a coordinator is asked for work that does not hold its answers.
_POLLS_PER_SECOND = 4
_AGAIN_SECONDS = 3
#: Flower's minimum heartbeat interval; a node counts as offline after twice that.
_HEARTBEAT_SECONDS = 10
_ACTIVATION_SECONDS, _ACTIVATION_PAUSE_SECONDS = 2.5 * _HEARTBEAT_SECONDS, 1.0
_REASON_LETTERS = 400
_APPLICATION = f"{PUBLISHER}/{PROJECT}"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARAMETERS = (
    "server_address insecure root_certificates authentication_keys max_retries max_wait_time"
)
_CONNECTION_PARTS = 8
_RECEIVE, _SEND, _GET_RUN, _GET_FAB = 1, 2, 3, 4


class BundleGate:
    """Looks at every bundle and signs those that the site approved."""

    def __init__(self, approved: Approved, say: Say) -> None:
        self._approved, self._say = approved, say
        self._key = Ed25519PrivateKey.generate()
        self._last = ""

    def write_trust(self, path: Path) -> None:
        """Write the file for `--trusted-entities`: this gate alone."""
        form = serialization.PublicFormat.OpenSSH
        public = self._key.public_key().public_bytes(serialization.Encoding.OpenSSH, form)
        # JSON is YAML.
        path.write_text(json.dumps({_ENTITY: public.decode("ascii")}), encoding="utf-8")

    def pass_on(self, fab: Fab) -> Fab:
        """Give an approved bundle with this gate's signature, or an empty one without.

        Flower answers the coordinator that the bundle could not be verified, and asks for it
        again with the next message: an approval given meanwhile then counts.
        """
        try:
            digest = self._look(fab.content)
            content_digest = sha256(fab.content)
            if fab.hash_str != content_digest.hexdigest():
                raise BundleRefused("it comes under another bundle's name")
        except BundleRefused as error:
            self._tell(str(error))
            return Fab(fab.hash_str, b"", {})
        self._tell(f"the coordinator's code is the approved one ({hex_of(digest)[:18]}…)")
        signed_at = int(time.time())
        signature = self._key.sign(create_message_to_sign(content_digest.digest(), signed_at))
        verification = {
            "signature": base64.urlsafe_b64encode(signature).decode("ascii"),
            "signed_at": signed_at,
        }
        # Verifications that came with it are dropped: no other entity is trusted.
        signed = {"valid_license": "true", _ENTITY: json.dumps(verification)}
        return Fab(fab.hash_str, fab.content, signed)

    def _look(self, content: bytes) -> Digest:
        approved = self._approved()
        if not approved:
            raise BundleRefused("this site has approved no study: see `wardround site approve`")
        digest = code_digest(read_bundle(content))
        if digest not in approved:
            raise BundleRefused(f"its digest is {hex_of(digest)}, and no approved study names that")
        return digest

    def _tell(self, words: str) -> None:
        if words != self._last:  # a refused bundle comes again with every message
            self._last = words
            self._say(words)


def install(gate: BundleGate, answer_max_bytes: int, say: Say) -> None:
    """Put the layer into this process's Flower, before its SuperNode starts.

    Args:
        gate: looks at bundles.
        answer_max_bytes: of one answer of the coordinator.
        say: reports messages that come and go.
    Raises:
        TransportError: it is not the Flower that this was tested with.
    """
    client = importlib.import_module("flwr.supernode.start_client_internal")
    connection = importlib.import_module("flwr.supernode.fleet_http_connection")
    connect = vars(client)["http_request_response"]
    check_flower(version("flwr"), connect)
    client_class = vars(connection)["FleetHttpClient"]
    vars(connection)["FleetHttpClient"] = _changed(client_class, answer_max_bytes, say)
    for module in (connection, importlib.import_module("flwr.supercore.heartbeat")):
        if "HEARTBEAT_DEFAULT_INTERVAL" not in vars(module):
            raise flower_changed("its heartbeat's interval is elsewhere")
        vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = _HEARTBEAT_SECONDS
    make = vars(connection)["make_simple_http_retry_invoker"]
    vars(connection)["make_simple_http_retry_invoker"] = asking_soon(make, _AGAIN_SECONDS)
    vars(client)["http_request_response"] = _layered(connect, gate, say)
    hold_supernode()


def check_flower(release: str, connect: Callable[..., Any]) -> None:
    """Check that Flower is the one that this was tested with.

    Raises:
        TransportError: names what differs.
    """
    if not release.startswith(f"{TESTED_FLOWER}."):
        raise flower_changed(f"its version is {release}, not {TESTED_FLOWER}")
    found = " ".join(inspect.signature(connect).parameters)
    if found != _PARAMETERS:
        raise flower_changed(f"its connection takes {found}")


def _layered(connect: Callable[..., Any], gate: BundleGate, say: Say) -> Callable[..., Any]:
    @contextmanager
    def layered(*arguments: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*arguments, **named) as parts:
            if len(parts) != _CONNECTION_PARTS:
                raise flower_changed(f"its connection has {len(parts)} parts")
            changed, get_fab = list(parts), parts[_GET_FAB]
            changed[_RECEIVE] = _patient(parts[_RECEIVE], say)
            changed[_SEND] = _telling(parts[_SEND], say)
            changed[_GET_RUN] = _plain_runs_only(parts[_GET_RUN], say)
            changed[_GET_FAB] = lambda fab_hash, run_id: gate.pass_on(get_fab(fab_hash, run_id))
            say("connected to the coordinator; waiting for work")
            yield tuple(changed)

    return layered


def _plain_runs_only(get_run: Callable[[int], Run], say: Say) -> Callable[[int], Run]:
    """Refuse a run that would have Flower start anything but a ClientApp, or look elsewhere for it.

    Flower finds a bundle's folder by the coordinator's description of the run, and lets the
    coordinator choose between kinds of task.
    """

    def plain(run_id: int) -> Run:
        run = get_run(run_id)
        plain_kind = run.primary_task_type == TaskType.SERVER_APP and not run.override_config
        if not (
            plain_kind
            and run.fab_id == _APPLICATION
            and VERSION.fullmatch(run.fab_version)
            and _SHA256.fullmatch(run.fab_hash)
        ):
            say("the coordinator's run is refused: it is not one of wardround's application alone")
            # Flower's own word for a message to pass over.
            raise RunNotRunningException
        return run

    return plain


def _patient(receive: Callable[[], Any], say: Say) -> Callable[[], Any]:
    polled: deque[float] = deque([-1.0] * _POLLS_PER_SECOND, _POLLS_PER_SECOND)

    def patient() -> Any:
        received = None
        while received is None:
            time.sleep(max(0.0, polled[0] + 1.0 - time.monotonic()))
            polled.append(time.monotonic())
            received = receive()
        message = received[0]
        words = _KINDS.get(message.metadata.message_type, "sent a message")
        of_round = message.metadata.group_id
        say(f"the coordinator {words}" + (f" (round {of_round[:8]})" if of_round else ""))
        return received

    return patient


def _telling(send: Callable[..., Any], say: Say) -> Callable[..., Any]:
    def telling(message: Any, object_tree: Any, seconds: float) -> Any:
        sent = send(message, object_tree, seconds)
        if message.has_error():
            reason = reason_of(message.error.reason)[:_REASON_LETTERS]
            late = reason.split("; ")[0] == _LATE
            say(_TOO_LATE if late else f"answered with an error: {reason}")
        else:
            say(f"answered after {seconds:.1f} s")
        return sent

    return telling


#: The coordinator asks a silent site again, and a site that trains is silent.
_LATE, _TOO_LATE = "round-over", "asked once more, but the round is closed: there is nothing to do"


_KINDS = {
    "query": "asks who this site is",
    "train": "asks to train",
    "evaluate": "asks to measure a model",
}


def _changed(client: type[Any], max_bytes: int, say: Say) -> type[Any]:
    """Make a fleet client that follows no redirection, reads no endless answer, notices silence.

    It waits while its killed predecessor still counts as connected.
    """

    def tell(state: RetryState) -> None:
        if state.tries == 1:
            say("the coordinator still counts the connection before; waiting for its end")

    waiting = RetryInvoker(
        lambda: constant(_ACTIVATION_PAUSE_SECONDS),
        httpx.HTTPStatusError,
        max_tries=None,
        max_time=_ACTIVATION_SECONDS,
        on_backoff=tell,
        jitter=None,
        should_giveup=lambda error: not _still_active(error),
    )

    # The base class is known at run time only.
    class ChangedClient(client):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            inner = getattr(self, "_client", None)
            if not isinstance(inner, httpx.Client):
                raise flower_changed("its fleet client has no httpx client")
            inner.follow_redirects = False
            inner.timeout = httpx.Timeout(inner.timeout.read, connect=CONNECT_SECONDS)
            bound = bounded_answers(max_bytes, "the coordinator")
            inner.event_hooks = {"response": [_notice_silence, bound]}

        def ActivateNode(self, request: Any) -> Any:  # noqa: N802 - Flower's name
            return waiting.invoke(super().ActivateNode, request)

        def SendNodeHeartbeat(self, request: Any) -> Any:  # noqa: N802 - Flower's name
            answer = super().SendNodeHeartbeat(request)
            if not answer.success:
                say(
                    "the coordinator was started anew and does not know this connection; leaving it"
                )
                os.kill(os.getpid(), signal.SIGINT)  # as Flower does where it knows no key
            return answer

    return ChangedClient


def _still_active(error: Exception) -> bool:
    assert isinstance(error, httpx.HTTPStatusError)  # nothing else is asked again
    known = FlowerError.from_json(error.response.text)
    return known is not None and known.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED


def _notice_silence(answer: httpx.Response) -> None:
    # Flower opens the connections; here is the first time that one can be had.
    stream = answer.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        notice_silence(connection)
