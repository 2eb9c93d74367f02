"""A thin Flower strategy around a session: messages out, replies in, nothing decided here.

Flower's own loop starts at round 1 and holds every reply; ours starts where the chain stands
and hands replies on as they arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from coordinator.session import ClosedRound, Position, Session
from coordinator.verification import RawVector, Reply
from protocol.canonical import canonical_bytes
from protocol.errors import ProtocolError, RoundFailed
from protocol.identifiers import SiteAddress
from protocol.manifest import Dropped
from protocol.messages import FIELDS, VECTOR, VECTOR_DTYPE, VECTOR_FORMAT, Assignment, Introduction
from protocol.settlement import Vector

TRAIN, EVALUATE, QUERY = "train", "evaluate", "query"
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.002, 0.5
_UNAVAILABLE = (
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
)


@dataclass(frozen=True)
class SiteMetrics:
    """What a site measured of a new model on its own test rows."""

    examples: int
    correct: int
    accuracy: float
    log_loss: float
    auc: float | None


@dataclass(frozen=True)
class RoundResult:
    """A closed round and what the sites measured of its model."""

    closed: ClosedRound
    metrics: Mapping[SiteAddress, SiteMetrics]
    wall_seconds: float


#: Told of every closed round, and of every attempt that failed.
OnRound = Callable[[RoundResult], None]
OnFailure = Callable[[RoundFailed], None]


@dataclass
class WardroundStrategy(Strategy):
    """Runs a study's rounds over any Grid, from wherever the chain says it stands."""

    session: Session
    sites_wanted: int
    reply_seconds: float
    attempts: int
    on_round: OnRound = lambda result: None
    on_failure: OnFailure = lambda failure: None
    names: dict[SiteAddress, str] = field(default_factory=dict)
    _nodes: dict[int, SiteAddress] = field(default_factory=dict)
    _sent: dict[str, int] = field(default_factory=dict)
    _position: Position | None = None
    _closed: ClosedRound | None = None
    _metrics: dict[SiteAddress, SiteMetrics] = field(default_factory=dict)

    def start(self, grid: Grid, *_: object, **__: object) -> Result:
        """Run every round that is still open; Flower's arguments give way to the study's."""
        self._position = self.session.position()
        self._nodes = self._introductions(grid)
        while self._position.round <= self.session.facts.params.rounds:
            self._run_round(grid)
        return Result(arrays=_vector_record(self._position.base))

    def summary(self) -> None:
        """Nothing: whoever runs the study tells about it."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every known node to train from the base model."""
        return self._messages(TRAIN, arrays, config, server_round)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Verify, sum, settle and close, one reply at a time."""
        assert self._position is not None  # start() has read it
        self._closed = self.session.run_round(
            self._position, self._nodes, (self._answer(reply) for reply in replies)
        )
        self._position = self._closed.position
        return _vector_record(self._position.base), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every known node to measure the new model."""
        return self._messages(EVALUATE, arrays, config, server_round)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Keep what each site measured; a site that cannot measure is simply not listed."""
        self._metrics = {}
        for reply in replies:
            site = self._nodes.get(self._node(reply))
            measured = _site_metrics(reply)
            if site is not None and measured is not None:
                self._metrics[site] = measured
        return None

    def _run_round(self, grid: Grid) -> None:
        assert self._position is not None
        position, started = self._position, time.monotonic()
        for attempt in range(1, self.attempts + 1):
            config = ConfigRecord(self._assignment(position).fields())
            arrays = _vector_record(position.base)
            try:
                messages = self.configure_train(position.round, arrays, config, grid)
                self.aggregate_train(position.round, self._exchange(grid, messages))
                break
            except RoundFailed as failure:
                self.on_failure(failure)
                if attempt == self.attempts:
                    raise
        assert self._closed is not None
        arrays = _vector_record(self._position.base)
        messages = self.configure_evaluate(position.round, arrays, config, grid)
        self.aggregate_evaluate(position.round, self._exchange(grid, messages))
        elapsed = time.monotonic() - started
        self.on_round(RoundResult(self._closed, dict(self._metrics), elapsed))

    def _assignment(self, position: Position) -> Assignment:
        return Assignment(
            self.session.facts.params,
            position.previous,
            position.round,
            canonical_bytes(self.session.spec.document()),
        )

    def _introductions(self, grid: Grid) -> dict[int, SiteAddress]:
        """Wait for the nodes, ask each who it is, and keep those that the contract admits."""
        deadline, pause = time.monotonic() + self.reply_seconds, _FIRST_POLL_SECONDS
        while len(nodes := sorted(grid.get_node_ids())) < self.sites_wanted:
            if time.monotonic() > deadline:
                raise RoundFailed(0, len(nodes), self.sites_wanted, ["too few nodes connected"])
            time.sleep(pause)
            pause = min(2 * pause, _LAST_POLL_SECONDS)
        empty = RecordDict()
        messages = [Message(empty, dst_node_id=node, message_type=QUERY) for node in nodes]
        found: dict[int, SiteAddress] = {}
        for reply in self._exchange(grid, messages):
            introduction = _introduction(reply)
            if introduction is None or introduction.site not in self.session.facts.members:
                continue
            # Anybody may claim an address, and only its owner can sign for it: ask all who do.
            found[self._node(reply)] = introduction.site
            self.names.setdefault(introduction.site, introduction.name)
        return found

    def _messages(
        self, kind: str, arrays: ArrayRecord, config: ConfigRecord, server_round: int
    ) -> list[Message]:
        content = RecordDict({FIELDS: config, VECTOR: arrays})
        return [
            Message(content, dst_node_id=node, message_type=kind, group_id=str(server_round))
            for node in self._nodes
        ]

    def _exchange(self, grid: Grid, messages: Iterable[Message]) -> Iterator[Message]:
        """Send messages and yield replies as they arrive, until all are in or time is up."""
        sent = list(messages)
        ids = list(grid.push_messages(sent))
        # By the request and not by its sender: some of Flower's errors come from the server.
        self._sent = {
            number: message.metadata.dst_node_id for number, message in zip(ids, sent, strict=True)
        }
        waiting = set(ids)
        deadline, pause = time.monotonic() + self.reply_seconds, _FIRST_POLL_SECONDS
        while waiting and time.monotonic() < deadline:
            for reply in grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                pause = _FIRST_POLL_SECONDS
                yield reply
            if waiting:
                time.sleep(pause)
                pause = min(2 * pause, _LAST_POLL_SECONDS)

    def _node(self, reply: Message) -> int:
        return self._sent[reply.metadata.reply_to_message_id]

    def _answer(self, reply: Message) -> tuple[int, Reply | Dropped]:
        node = self._node(reply)
        try:
            return node, _reply(reply)
        except _Unreadable as error:
            site = self._nodes[node].lower()
            return node, Dropped(site=site, reason=error.reason, evidence=str(error)[:300])


class _Unreadable(ProtocolError):
    """A message that holds no reply."""

    def __init__(self, reason: str, evidence: str) -> None:
        self.reason = reason
        super().__init__(evidence)


def _reply(message: Message) -> Reply:
    if message.has_error():
        error = message.error
        if error.code in _UNAVAILABLE:
            raise _Unreadable("unavailable", "the node did not answer")
        raise _Unreadable("site_error", _printable(error.reason or "no reason given"))
    content = message.content
    if set(content) != {FIELDS, VECTOR} or FIELDS not in content.config_records:
        raise _Unreadable("malformed", _printable(f"records {sorted(content)}"))
    vectors = content.array_records.get(VECTOR)
    if vectors is None or set(vectors) != {VECTOR}:
        raise _Unreadable("malformed", "there is not exactly one vector")
    array = vectors[VECTOR]
    return Reply(
        dict(content.config_records[FIELDS]), RawVector(array.dtype, array.stype, array.data)
    )


def _introduction(message: Message) -> Introduction | None:
    if message.has_error() or FIELDS not in message.content.config_records:
        return None
    try:
        return Introduction.parse(dict(message.content.config_records[FIELDS]))
    except ProtocolError:
        # Whoever cannot say who it is, is not asked to train.
        return None


def _site_metrics(message: Message) -> SiteMetrics | None:
    if message.has_error() or "metrics" not in message.content.metric_records:
        return None
    values = message.content.metric_records["metrics"]
    examples, correct = values.get("examples"), values.get("correct")
    log_loss, auc = values.get("log_loss"), values.get("auc")
    # Comparisons with NaN are false, so NaN fails these tests as it should.
    if not (isinstance(examples, int) and 1 <= examples < 2**53):
        return None
    if not (isinstance(correct, int) and 0 <= correct <= examples):
        return None
    if not (isinstance(log_loss, float) and 0 <= log_loss < inf):
        return None
    if not (auc is None or (isinstance(auc, float) and 0 <= auc <= 1)):
        return None
    return SiteMetrics(examples, correct, correct / examples, log_loss, auc)


def _vector_record(vector: Vector) -> ArrayRecord:
    array = Array(
        dtype=VECTOR_DTYPE, shape=vector.values.shape, stype=VECTOR_FORMAT, data=vector.data
    )
    return ArrayRecord({VECTOR: array})


def _printable(text: str) -> str:
    """Make text fit for a manifest: one line; of a long one, its beginning and its end.

    Ray wraps a site's error into a traceback, whose last words say what was wrong.
    """
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return plain if len(plain) <= 300 else f"{plain[:80]} … {plain[-217:]}"
