"""A whole federation in one process: Flower's `Grid`, calling the ClientApp directly.

No Ray, no sockets, no pickling; an unmodified ClientApp and ServerApp run as they would under
Flower. What Flower's transport gives for free is kept by hand:

- **Isolation.** A message is a snapshot: records and arrays are copied when it is pushed and when
  its reply is delivered, so neither side can change what the other holds. Only `bytes` objects are
  shared without a copy: they are immutable. The payload of an array is `bytes`.
- **State.** Each node has a `Context` that lives as long as the grid. A call works on a copy, and
  the copy replaces the original only when the ClientApp returns, as under Flower's own runtime.
- **Failure.** Whatever a ClientApp raises becomes an error reply; the run goes on.

Clients run when their reply is asked for. `pull_messages` hands out one reply at a time and lets
go of it, and of the request, before the next client starts: a server that aggregates as replies
arrive needs memory for the model, not for all sites.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from enum import Enum
from itertools import islice
from threading import Lock

from flwr.app import Array, Context, Message, Metadata, RecordDict, UserConfig, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.common import now
from flwr.server.superlink.linkstate.utils import (
    create_message_error_unavailable_ins_message,
    create_message_error_unavailable_res_message,
    message_ttl_has_expired,
)
from flwr.server.utils.validator import validate_message
from flwr.serverapp import Grid

from wardround.transport.flower import identity as flower
from wardround.transport.flower.messages import ErrorCode

_log = logging.getLogger(__name__)

FIRST_NODE_ID = flower.SERVER_NODE_ID + 1
"""Node id of partition 0; partition i has FIRST_NODE_ID + i."""


class Availability(Enum):
    """What becomes of a request that is about to reach its node."""

    ONLINE = "online"
    """The ClientApp is called."""
    SILENT = "silent"
    """No reply. The request waits: the next pull tries the node again, until the time to live."""
    UNAVAILABLE = "unavailable"
    """The error that Flower's server gives once a node has missed its heartbeats."""


Availabilities = Callable[[int, Message], Availability]
"""Decides by node id and request; it must not change the request."""

OnReply = Callable[[int, str, float], None]
"""Told of each reply: node id, message type, seconds that the node took."""


class InProcessGrid(Grid):
    """Flower's grid over nodes that live in this process."""

    def __init__(
        self,
        client_app: ClientApp,
        node_configs: Sequence[Mapping[str, UserConfigValue]],
        run_config: Mapping[str, UserConfigValue],
        *,
        run_id: int = 1,
        workers: int = 1,
        availability: Availabilities | None = None,
        on_reply: OnReply | None = None,
    ) -> None:
        """Register the nodes, and let this process create messages for the run.

        Args:
            client_app: called for every message, lifespan and mods included.
            node_configs: one mapping a node, in partition order, at least one. `partition-id` and
                `num-partitions` are added where absent.
            run_config: handed to every node; a ClientApp that changes it gets an error, as under
                Flower.
            run_id: 1 .. 2**64 - 1; two grids that are used in turn may share it.
            workers: threads that run ClientApps, >= 1. With one, replies come in the order asked;
                with more, in the order of completion, and a node never runs twice at once.
            availability: simulates dropouts; None keeps every node online.
            on_reply: progress, called where replies are pulled.

        Raises:
            ValueError: no nodes, or no workers.
        """
        if not node_configs:
            raise ValueError("a grid needs at least one node: give one node_config a site.")
        if workers < 1:
            raise ValueError(f"workers is {workers}, must be at least 1.")
        self._client_app = client_app
        self._run_config: UserConfig = dict(run_config)
        self._workers = workers
        self._availability = availability
        self._on_reply = on_reply
        self._run = flower.Run.create_empty(run_id)
        self._queue: dict[str, tuple[Metadata, RecordDict]] = {}
        self._contexts: dict[int, Context] = {}
        for partition, config in enumerate(node_configs):
            placed = {"partition-id": partition, "num-partitions": len(node_configs), **config}
            node_id = FIRST_NODE_ID + partition
            self._contexts[node_id] = Context(
                run_id, node_id, placed, RecordDict(), dict(self._run_config)
            )
        self._turns = {node_id: Lock() for node_id in self._contexts}
        flower.assume_server_identity(run_id)

    def set_run(self, run: flower.Run) -> None:
        """Set the run, as Flower's runtime does before it calls a ServerApp."""
        self._run = run

    @property
    def run(self) -> flower.Run:
        """A copy of the run's description."""
        return flower.clone(self._run)

    def context(self, node_id: int) -> Context:
        """Look into a node: its context as the last successful call left it.

        Raises:
            KeyError: no such node.
        """
        return self._contexts[node_id]

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message; Flower deprecates this in favour of `Message(...)`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """All node ids in partition order."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queue requests; no ClientApp runs before its reply is pulled.

        Args:
            messages: each with content, addressed to a node of this grid. The caller keeps its
                messages and may change them afterwards.

        Returns:
            One new id a message, in order.

        Raises:
            ValueError: a message that Flower would refuse; those before it stay queued.
        """
        message_ids = []
        for message in messages:
            flower.set_message_id(message)
            metadata = message.metadata
            faults = validate_message(message, is_reply_message=False)
            if metadata.run_id != self._run.run_id:
                faults.append(f"`metadata.run_id` is not {self._run.run_id}")
            if metadata.dst_node_id not in self._contexts:
                faults.append(f"`metadata.dst_node_id` {metadata.dst_node_id} is no node here")
            if faults:
                raise ValueError(f"Invalid message: {'; '.join(faults)}.")
            self._queue[metadata.message_id] = (flower.clone(metadata), _snapshot(message.content))
            message_ids.append(metadata.message_id)
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Run the nodes asked for and hand out each reply as soon as it is there.

        Args:
            message_ids: ids from `push_messages`; copied, so the caller may drop ids meanwhile.

        Returns:
            A lazy iterator, at most one reply an id. Silent nodes are left out and stay queued; an
            unknown or expired id gives Flower's error reply. A caller who stops early leaves the
            rest queued.
        """
        wanted = list(message_ids)
        return self._serve_in_turn(wanted) if self._workers == 1 else self._serve_in_threads(wanted)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Push, then pull all replies, as Flower's own grids do.

        Args:
            messages: requests, see `push_messages`.
            timeout: seconds after which no further ClientApp is started. Silent
                nodes are not waited for: with every client in this process, no reply comes late.

        Returns:
            All replies. They are in memory together; to aggregate as they arrive, use
            `push_messages` and `pull_messages`.
        """
        message_ids = self.push_messages(messages)
        deadline = None if timeout is None else time.monotonic() + timeout
        replies = []
        for reply in self.pull_messages(message_ids):
            replies.append(reply)
            if deadline is not None and time.monotonic() >= deadline:
                break
        for message_id in message_ids:
            self._queue.pop(message_id, None)
        return replies

    def _serve_in_turn(self, message_ids: list[str]) -> Iterator[Message]:
        for message_id in message_ids:
            reply = self._told(self._answer(message_id))
            if reply is not None:
                yield reply
                del reply  # before the next client runs, not after

    def _serve_in_threads(self, message_ids: list[str]) -> Iterator[Message]:
        waiting = iter(message_ids)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="site") as pool:
            running = {pool.submit(self._answer, one) for one in islice(waiting, self._workers)}
            while running:
                finished: Future[tuple[Message | None, Metadata | None, float]]
                finished = wait(running, return_when=FIRST_COMPLETED).done.pop()
                running.remove(finished)
                reply = self._told(finished.result())
                del finished
                if reply is not None:
                    yield reply
                    del reply
                # Only now: no more than `workers` replies exist, however slow the server is.
                running.update(pool.submit(self._answer, one) for one in islice(waiting, 1))

    def _told(self, answer: tuple[Message | None, Metadata | None, float]) -> Message | None:
        reply, asked, seconds = answer
        if reply is not None and asked is not None and self._on_reply is not None:
            self._on_reply(asked.dst_node_id, asked.message_type, seconds)
        return reply

    def _answer(self, message_id: str) -> tuple[Message | None, Metadata | None, float]:
        started = time.perf_counter()
        queued = self._queue.pop(message_id, None)
        if queued is None or message_ttl_has_expired(queued[0], now().timestamp()):
            expired = create_message_error_unavailable_ins_message(message_id, self._run.run_id)
            return expired, None, 0.0
        asked, content = queued
        request = flower.with_content(asked, content)
        if self._availability is not None:
            availability = self._availability(asked.dst_node_id, request)
            if availability is Availability.SILENT:
                self._queue[message_id] = queued
                return None, asked, 0.0
            if availability is Availability.UNAVAILABLE:
                reply = create_message_error_unavailable_res_message(asked, "node_unavail")
                return reply, asked, time.perf_counter() - started
        del queued, content
        with self._turns[asked.dst_node_id]:
            reply = self._call(request, asked)
        return reply, asked, time.perf_counter() - started

    def _call(self, request: Message, asked: Metadata) -> Message:
        """Call the ClientApp as a node of Flower would; never raises for what the app does."""
        context = self._lend(self._contexts[asked.dst_node_id])
        try:
            reply = self._client_app(message=request, context=context)
        except flower.LoadClientAppError as error:
            return _refusal(asked, ErrorCode.LOAD_CLIENT_APP_EXCEPTION, error)
        except SystemExit as error:  # the site's process would have ended, not the federation
            return _refusal(asked, ErrorCode.CLIENT_APP_CRASHED, error)
        except Exception as error:  # noqa: BLE001  the boundary of a site: its bugs stay its own
            return _refusal(asked, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, error)
        if not isinstance(reply, Message):
            reason = f"the ClientApp returned {type(reply).__name__}, not a Message"
            return flower.error_reply(asked, ErrorCode.UNKNOWN, reason)
        flower.set_message_id(reply)
        faults = flower.faults_of_reply(reply, asked)
        if context.run_config != self._run_config:
            faults.append("the ClientApp changed `context.run_config`, which is read-only")
        if faults:
            return flower.error_reply(asked, ErrorCode.UNKNOWN, "; ".join(faults))
        self._contexts[asked.dst_node_id] = context
        if reply.has_content():
            return flower.with_content(reply.metadata, _snapshot(reply.content))
        return reply

    def _lend(self, context: Context) -> Context:
        lent = flower.clone(context)
        lent.node_config = dict(context.node_config)
        lent.run_config = dict(self._run_config)
        lent.state = _snapshot(context.state)
        return lent


def _refusal(asked: Metadata, code: int, error: BaseException) -> Message:
    _log.debug("node %d raised", asked.dst_node_id, exc_info=error)
    return flower.error_reply(asked, code, f"{type(error).__name__}: {error}")


def _snapshot(records: RecordDict) -> RecordDict:
    """Copy all containers; `bytes` are shared."""
    copied = records.copy()
    named = flower.items_of(copied)
    for name, record in named.items():
        named[name] = twin = record.copy()
        values = flower.items_of(twin)
        for key, value in values.items():
            if isinstance(value, Array):
                values[key] = _snapshot_array(value)
            elif isinstance(value, list):
                values[key] = value.copy()
    return copied


def _snapshot_array(array: Array) -> Array:
    # The constructor takes six times as long, only to check types that are already checked.
    copied = object.__new__(Array)
    data = array.data
    copied.__dict__.update(
        dtype=array.dtype,
        shape=array.shape,
        stype=array.stype,
        data=data if type(data) is bytes else bytes(data),
    )
    return copied
