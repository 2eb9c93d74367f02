"""Send train and evaluate tasks to nodes and collect the replies, with retries.

A site that is restarted gives the same answer again, so a retry costs nothing: after its node was
offline, its program crashed, or no reply came. A site's own error, a refusal for instance, is
retried a few times only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from wardround.host.backoff import pauses
from wardround.transport.flower.messages import REFUSED, ErrorCode
from wardround.transport.flower.replies import BoundedGrid

FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.002, 0.5
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.25, 4.0
#: When a silent site is first asked again. It may be training; or the message is lost, because
#: Flower delivers each once, and the receiving process died or the network failed on the way.
_SILENT_SECONDS = 20.0
#: How often a site that answers with an error of its own is asked again.
_REFUSALS = 3

#: Flower found no node to answer.
UNAVAILABLE = (
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
)
#: What came is no reply; the next one would be none either.
_FINAL = (REFUSED["malformed"], REFUSED["length"])
#: The site's program ended under the question. Any node can say so, for as long as it is asked.
DIED = (*UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED, ErrorCode.UNKNOWN)


@dataclass
class _Asked:
    """One node's question and what became of it."""

    message: Message
    asked_at: float
    failed_at: float | None = None
    pauses: Iterator[float] = field(
        default_factory=lambda: pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
    )
    again_at: float | None = None
    refusals: int = 0
    ids: set[str] = field(default_factory=set)


@dataclass
class Exchange:
    """One question to each of some nodes.

    Attributes:
        grid: carries messages.
        reply_seconds: how long to wait for answers at all.
        retry_seconds: how long a node that fails is asked again; with 0 its first answer counts.
        newcomers: called at every retry: messages to nodes that have connected since.
        clock: seconds that only grow.
        wait: sleeps for so many seconds; by default as `resting` does.
    """

    grid: Grid
    reply_seconds: float
    retry_seconds: float
    newcomers: Callable[[], Iterable[Message]] = lambda: ()
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] | None = None
    _waiting: dict[int, _Asked] = field(default_factory=dict)
    _nodes: dict[str, int] = field(default_factory=dict)

    def replies(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Send messages and yield one reply a node as it arrives, until all are in or time is up.

        Args:
            messages: at most one a node.
        """
        self._ask(messages)
        deadline = self.clock() + self.reply_seconds
        try:
            yield from self._replies(deadline)
        finally:
            if isinstance(self.grid, BoundedGrid):
                self.grid.give_up(self._nodes)

    @property
    def silent(self) -> frozenset[int]:
        """Nodes that have not answered."""
        return frozenset(self._waiting)

    def _replies(self, deadline: float) -> Iterator[Message]:
        first = LAST_POLL_SECONDS if isinstance(self.grid, BoundedGrid) else FIRST_POLL_SECONDS
        pause, wait = pauses(first, LAST_POLL_SECONDS), self.wait or resting(self.grid)
        while self._waiting:
            # Read before the poll: what has come by then counts, however long reading takes.
            late = self.clock() >= deadline
            ids = {one for asked in self._waiting.values() for one in asked.ids}
            for reply in self.grid.pull_messages(ids) if ids else ():
                node = self.node(reply)
                asked = self._waiting.get(node)
                if asked is None or reply.metadata.reply_to_message_id not in asked.ids:
                    continue  # it has answered before
                asked.ids.discard(reply.metadata.reply_to_message_id)
                pause = pauses(first, LAST_POLL_SECONDS)
                if not late and self._worth_asking_again(asked, reply):
                    continue
                del self._waiting[node]
                yield reply
            if late:
                return
            if self._waiting:
                self._ask_again()
                wait(min(next(pause), max(0.0, deadline - self.clock())))

    def node(self, reply: Message) -> int:
        """The node that a reply is from.

        By the request and not by its sender: some of Flower's errors come from the server.
        """
        return self._nodes[reply.metadata.reply_to_message_id]

    def _ask(self, messages: Iterable[Message]) -> None:
        sent = list(messages)
        now = self.clock()
        for number, message in zip(self.grid.push_messages(sent), sent, strict=True):
            node = message.metadata.dst_node_id
            self._nodes[number] = node
            asked = self._waiting.setdefault(node, _Asked(message, now))
            if number:  # none where the SuperLink does not take it
                asked.ids.add(number)

    def _worth_asking_again(self, asked: _Asked, reply: Message) -> bool:
        if not reply.has_error() or self.retry_seconds <= 0 or reply.error.code in _FINAL:
            return False
        now = self.clock()
        asked.failed_at = now if asked.failed_at is None else asked.failed_at
        again_at = now + next(asked.pauses)
        if again_at > asked.failed_at + self.retry_seconds:
            return False
        if reply.error.code not in DIED:
            asked.refusals += 1
            if asked.refusals > _REFUSALS:
                return False
        asked.again_at = again_at
        return True

    def _ask_again(self) -> None:
        """Retry nodes that failed, after a pause, and silent ones, at growing intervals."""
        if self.retry_seconds <= 0:
            return
        now = self.clock()
        again = []
        for asked in self._waiting.values():
            if asked.again_at is not None:
                due = now >= asked.again_at
            else:
                # Each time after twice as long: long training is asked about a few times only.
                first = min(self.retry_seconds, _SILENT_SECONDS)
                due = now >= asked.asked_at + first * 2 ** (len(asked.ids) - 1)
            if due:
                asked.again_at = None
                again.append(_copy(asked.message))
        if again:
            self._ask(again)
            self._ask(m for m in self.newcomers() if m.metadata.dst_node_id not in self._waiting)


def resting(grid: Grid) -> Callable[[float], None]:
    """A way to sleep that ends when a reply may have come, where the SuperLink tells that."""
    return grid.rest if isinstance(grid, BoundedGrid) else time.sleep


def _copy(message: Message) -> Message:
    """The same question as a new message, with an id of its own."""
    about = message.metadata
    return Message(
        message.content,
        dst_node_id=about.dst_node_id,
        message_type=about.message_type,
        group_id=about.group_id,
    )
