"""A thin Flower strategy around a session: it sends messages and hands on replies.

Flower's own loop starts at round 1 and holds every reply; ours starts at the chain's position and
hands replies on as they arrive. It decides nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from wardround.chain.errors import ChainUnreachable
from wardround.host.backoff import pauses
from wardround.host.steps import Step, durable
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import ProtocolError, RoundFailed
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.manifest import Dropped
from wardround.protocol.messages import (
    COUNTS_DTYPE,
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Introduction,
    Measured,
    TrainTask,
)
from wardround.protocol.settlement import Vector
from wardround.transport.flower.messages import REFUSED, reason_of
from wardround_coordinator.errors import ReplyRefused
from wardround_coordinator.exchange import (
    DIED,
    FIRST_POLL_SECONDS,
    LAST_POLL_SECONDS,
    UNAVAILABLE,
    Exchange,
    resting,
)
from wardround_coordinator.session import RoundFacts, RoundOutcome, Session, StudyPosition
from wardround_coordinator.silent_nodes import SilentNodes
from wardround_coordinator.verification import RawVector, Reply

_log = logging.getLogger("wardround.serverapp")

TRAIN, EVALUATE, QUERY = "train", "evaluate", "query"
_REFUSED_WORDS = {code: word for word, code in REFUSED.items()}
#: How long a node has to name its site; it is asked again later.
_INTRODUCTION_SECONDS = 30.0
#: How often demands are looked for while sites work: a demand waits ten minutes at least.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class RoundResult:
    """A closed round and what the sites measured of its model.

    Attributes:
        facts: of the round, from chain and store.
        measured: by site. Sites measure a model when they are asked to train from it, and the last
            one in answer to a question of its own.
        wall_seconds: until the round was closed; of the last one, until it was measured.
    """

    facts: RoundFacts
    measured: Mapping[SiteAddress, Measured]
    wall_seconds: float


#: Callbacks: a round was closed; an attempt at one failed.
OnRound = Callable[[RoundResult], None]
OnFailure = Callable[[RoundFailed], None]


@dataclass
class WardroundStrategy(Strategy):
    """Runs a study's rounds over any Grid, from the chain's position.

    Attributes:
        session: the coordinator's work on the study.
        sites_wanted: how many sites to wait for before the first round.
        reply_seconds: how long a site may take to answer.
        attempts: how often a round with too few good contributions is tried again.
        retry_seconds: how long a site that is away is asked again, and waited for before the
            first round; with 0, its first answer counts.
        on_round: reports a closed round.
        on_failure: reports an attempt that failed.
        is_reported: whether a round was reported already.
        names: of the sites, as they gave them.
    """

    session: Session
    sites_wanted: int
    reply_seconds: float
    attempts: int
    retry_seconds: float = 0.0
    on_round: OnRound = lambda result: None
    on_failure: OnFailure = lambda failure: None
    is_reported: Callable[[int], bool] = lambda number: True
    names: dict[SiteAddress, str] = field(default_factory=dict)
    _nodes: dict[int, SiteAddress] = field(default_factory=dict)
    _strangers: set[int] = field(default_factory=set)
    _silent: dict[str, SilentNodes] = field(
        default_factory=lambda: {kind: SilentNodes() for kind in (QUERY, TRAIN, EVALUATE)}
    )
    _exchange: Exchange | None = None
    _position: StudyPosition | None = None
    _closed: RoundOutcome | None = None
    #: A closed round that is reported once its model is measured, and what was measured so far.
    _unreported: RoundResult | None = None
    _measured: dict[SiteAddress, Measured] = field(default_factory=dict)
    _answer_at: float = 0.0

    def start(self, grid: Grid, *_: object, **__: object) -> Result:
        """Run every round that is still open; the study's values replace Flower's arguments."""
        # First: the last round's coordinator may have left nothing to go on from.
        self.session.answer_demands()
        self._position = self.session.position()
        self._nodes = {}
        self._gather(grid)
        self._report_last(grid)
        while self._position.round <= self.session.facts.params.rounds:
            self._run_round(grid)
        return Result(arrays=_vector_record(self._position.base))

    def summary(self) -> None:
        """No-op: `on_round` reports progress."""

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
        answers = (self._answer(reply) for reply in replies)
        self._closed = self.session.run_round(self._position, self._nodes, answers, self.names)
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
        for reply in replies:
            if not reply.has_error() and FIELDS in reply.content.config_records:
                fields = dict(reply.content.config_records[FIELDS])
                self._keep_measured(self._node(reply), fields)
        return None

    def _run_round(self, grid: Grid) -> None:
        assert self._position is not None
        position, started = self._position, time.monotonic()
        for attempt in range(1, self.attempts + 1):
            # Stop early: sites reject a round that is not open.
            self.session.check_standing(position)
            self._meet(grid)
            self._forget(grid)
            task = replace(self._assignment(position), measure=self._unreported is not None)
            config, arrays = ConfigRecord(task.fields()), _vector_record(position.base)
            try:
                messages = self.configure_train(position.round, arrays, config, grid)
                # A locked cohort takes no further answer: the store has all that is in it.
                locked = self.session.is_locked(position)
                if locked:
                    self._report_earlier(grid)
                replies = () if locked else self._then_report(grid, messages)
                self.aggregate_train(position.round, replies)
                break
            except RoundFailed as failure:
                # Sites rejected a round that is no longer open: the chain moved, they are well.
                self.session.check_standing(position)
                self.on_failure(failure)
                if attempt == self.attempts:
                    raise
        assert self._closed is not None
        if (earlier := self._unreported) is not None:
            # The round was locked while its question went out, and no answer was taken.
            self._note(earlier.facts, earlier.wall_seconds)
        if self._position.round <= self.session.facts.params.rounds:
            elapsed = time.monotonic() - started
            self._unreported = RoundResult(self._closed.facts, {}, elapsed)
        else:
            self._report(grid, self._closed.facts, started)

    def _then_report(self, grid: Grid, messages: Iterable[Message]) -> Iterator[Message]:
        """Send messages and hand on replies, then report the round whose model was measured.

        Before the round is closed: a coordinator that dies later reports that one alone.
        """
        yield from self._replies(grid, messages)
        self._report_earlier(grid)

    def _report_earlier(self, grid: Grid) -> None:
        """Report the last closed round, if it is not yet."""
        if (earlier := self._unreported) is not None:
            self._measure(grid, earlier.facts)
            self._note(earlier.facts, earlier.wall_seconds)

    def _report(self, grid: Grid, facts: RoundFacts, started: float) -> None:
        """Let the sites measure a round's model, and report the round."""
        self._measure(grid, facts)
        self._note(facts, time.monotonic() - started)

    def _measure(self, grid: Grid, facts: RoundFacts) -> None:
        """Ask sites to measure a round's model, unless some did so when they trained from it.

        Those that did not train are not asked then: the next round would be closed later by as long
        as they take.
        """
        assert self._position is not None
        # As the record before the next round: a site measures only a model that the chain has.
        config = ConfigRecord(self._assignment(self._position).fields())
        number, arrays = facts.manifest.round, _vector_record(self._position.base)
        with durable(Step.MODEL_MEASURED):
            if not self._measured:
                messages = self.configure_evaluate(number, arrays, config, grid)
                self.aggregate_evaluate(number, self._replies(grid, messages))

    def _note(self, facts: RoundFacts, wall_seconds: float) -> None:
        measured, self._measured = self._measured, {}
        self._unreported = None
        with durable(Step.ROUND_NOTED):
            self.on_round(RoundResult(facts, measured, wall_seconds))

    def _report_last(self, grid: Grid) -> None:
        """Report the last round if the coordinator that closed it died before it could."""
        assert self._position is not None
        last, started = self._position.round - 1, time.monotonic()
        if last == 0 or self.is_reported(last):
            return
        self._report(grid, self.session.facts_of(last), started)

    def _assignment(self, position: StudyPosition) -> TrainTask:
        return TrainTask(
            self.session.facts.params,
            position.previous,
            position.round,
            canonical_bytes(self.session.spec.document()),
        )

    def _gather(self, grid: Grid) -> None:
        """Wait for the sites, or, when time is up, for as many as a round needs."""
        started, pause = time.monotonic(), pauses(FIRST_POLL_SECONDS, LAST_POLL_SECONDS)
        least = self.session.facts.params.min_sites
        while True:
            # Nothing else is waited for, so no node is asked less often.
            connected = self._meet(grid, gathering=True)
            known, waited = len(set(self._nodes.values())), time.monotonic() - started
            # A node that does not name its site counts too, once it has had its time.
            if known >= self.sites_wanted or (
                connected >= self.sites_wanted and waited >= self.retry_seconds
            ):
                return
            if known >= least and waited >= (self.retry_seconds or self.reply_seconds):
                return
            if waited > self.reply_seconds:
                raise self._too_few(known)
            self._wait(grid, next(pause))

    def _wait(self, grid: Grid, seconds: float) -> None:
        """Sleep, and answer demands: sites may take longer than a demand waits."""
        now = time.monotonic()
        if now >= self._answer_at:
            self._answer_at = now + ANSWER_SECONDS
            with suppress(ChainUnreachable):
                self.session.answer_demands()
        resting(grid)(seconds)

    def _too_few(self, known: int) -> RoundFailed:
        assert self._position is not None
        missing = self.session.facts.members.keys() - set(self._nodes.values())
        reasons = [f"too few nodes connected: {', '.join(sorted(missing)) or 'none'} missing"]
        return RoundFailed(self._position.round, known, self.sites_wanted, reasons)

    def _meet(self, grid: Grid, *, gathering: bool = False) -> int:
        """Ask new nodes for their site, and keep those that the contract admits.

        Args:
            gathering: before the first round, when silent nodes are asked all the time.
        Returns:
            How many nodes are connected.
        """
        connected = set(grid.get_node_ids())
        for silent in self._silent.values():
            silent.see(connected)
        unknown = sorted(connected - self._nodes.keys() - self._strangers)
        unknown = [node for node in unknown if self._silent[QUERY].is_due(node)]
        empty = RecordDict()
        messages = [Message(empty, dst_node_id=node, message_type=QUERY) for node in unknown]
        # On a busy machine it takes a node half a minute to start the process that answers.
        patience = max(_INTRODUCTION_SECONDS, self.retry_seconds)
        exchange = Exchange(grid, min(self.reply_seconds, patience), 0)
        for reply in exchange.replies(messages):
            introduction = _introduction(reply)
            node = exchange.node(reply)
            if introduction is None:
                continue
            if not self.session.admits(introduction.site):
                self._strangers.add(node)
                continue
            # Any node may claim an address, and only its owner can sign for it: ask all of them.
            self._nodes[node] = introduction.site
            self.names.setdefault(introduction.site, introduction.name)
        if not gathering:
            self._note_silence(grid, QUERY, exchange.silent, exchange.reply_seconds)
        return len(connected)

    def _forget(self, grid: Grid) -> None:
        """Forget nodes whose sites reconnected as another node: they will never answer."""
        connected = set(grid.get_node_ids())
        present = {site for node, site in self._nodes.items() if node in connected}
        for node, site in list(self._nodes.items()):
            if node not in connected and site in present:
                del self._nodes[node]

    def _messages(
        self, kind: str, arrays: ArrayRecord, config: ConfigRecord, server_round: int
    ) -> list[Message]:
        content = RecordDict({FIELDS: config, VECTOR: arrays})
        return [
            Message(content, dst_node_id=node, message_type=kind, group_id=str(server_round))
            for node in self._due(kind)
        ]

    def _due(self, kind: str) -> list[int]:
        """Nodes to ask: all that are not silent; where those are too few for a round, all."""
        training, measuring = self._silent[TRAIN], self._silent[EVALUATE]
        if kind == EVALUATE:
            heard = [node for node in self._nodes if not training.is_silent(node)]
            return [node for node in heard if measuring.is_due(node)]
        due = [node for node in self._nodes if training.is_due(node)]
        least = self.session.facts.params.min_sites
        return due if len({self._nodes[node] for node in due}) >= least else list(self._nodes)

    def _note_silence(
        self, grid: Grid, kind: str, nodes: Collection[int], cost_seconds: float
    ) -> None:
        connected = set(grid.get_node_ids()) if nodes else set()
        for node in nodes:
            away = node not in connected
            pause = self._silent[kind].note(node, cost_seconds, away=away)
            site = self._nodes.get(node)
            named = f"{self.names.get(site, '')} ({site})".strip() if site else f"node {node}"
            again = "when it connects again" if away else f"in {pause:.0f} s, or when it reconnects"
            _log.warning(f"{named} did not answer ({kind}): it is asked again {again}")

    def _replies(self, grid: Grid, messages: Iterable[Message]) -> Iterator[Message]:
        """Send messages and yield replies as they arrive; ask those again that fail to train."""
        sent = list(messages)
        if not sent or sent[0].metadata.message_type == TRAIN:
            patience, again = self.reply_seconds, self.retry_seconds
        else:
            # No round waits long for what a site measured.
            patience, again = min(self.reply_seconds, self.retry_seconds or self.reply_seconds), 0
        self._exchange = Exchange(
            grid,
            patience,
            again,
            newcomers=lambda: self._newcomers(grid, sent),
            wait=lambda seconds: self._wait(grid, seconds),
        )
        return self._heard(grid, self._exchange, sent)

    def _heard(self, grid: Grid, exchange: Exchange, sent: list[Message]) -> Iterator[Message]:
        """Hand on replies, and note which nodes were silent, or failed until time was up."""
        kind = sent[0].metadata.message_type if sent else TRAIN
        for reply in exchange.replies(sent):
            node = exchange.node(reply)
            if reply.has_error() and reply.error.code in DIED and exchange.retry_seconds > 0:
                self._note_silence(grid, kind, (node,), exchange.retry_seconds)
            else:
                self._silent[kind].answered(node)
            yield reply
        self._note_silence(grid, kind, exchange.silent, exchange.reply_seconds)

    def _newcomers(self, grid: Grid, sent: list[Message]) -> list[Message]:
        """Put a round's question to nodes that came after it was asked.

        Raises:
            StoodDown: another coordinator is active.
            PositionMoved: the round is no longer open.
        """
        assert self._position is not None
        # Sites reject a round that a reorganisation or another coordinator took away. While the
        # chain is unreachable, answers still come in.
        with suppress(ChainUnreachable):
            self.session.check_standing(self._position)
        asked = {message.metadata.dst_node_id for message in sent}
        self._meet(grid)
        like = sent[0]
        new = [
            Message(
                like.content,
                dst_node_id=node,
                message_type=like.metadata.message_type,
                group_id=like.metadata.group_id,
            )
            for node in self._due(TRAIN)
            if node not in asked
        ]
        sent.extend(new)
        return new

    def _keep_measured(self, node: int, fields: Mapping[str, object]) -> None:
        """Keep what a site states of its test rows, if it has the form: it never stops a round."""
        site = self._nodes.get(node)
        with suppress(ProtocolError):
            measured = Measured.parse(fields)
            if site is not None:
                self._measured[site] = measured

    def _node(self, reply: Message) -> int:
        assert self._exchange is not None  # it has yielded the reply
        return self._exchange.node(reply)

    def _answer(self, reply: Message) -> tuple[int, Reply | Dropped]:
        node = self._node(reply)
        try:
            found = _reply(reply)
            if self._unreported is not None:
                fields, measured = Measured.part(found.fields)
                self._keep_measured(node, measured)
                found = replace(found, fields=fields)
            return node, found
        except ReplyRefused as error:
            site = self._nodes[node].lower()
            return node, Dropped(site=site, reason=error.reason, evidence=error.evidence)


def _reply(message: Message) -> Reply:
    if message.has_error():
        error = message.error
        if error.code in UNAVAILABLE:
            raise ReplyRefused("unavailable", "the node did not answer")
        word = _REFUSED_WORDS.get(error.code)
        if word is not None:
            raise ReplyRefused(word, _printable(error.reason or ""))
        raise ReplyRefused("site_error", _printable(reason_of(error.reason)))
    content = message.content
    if set(content) != {FIELDS, VECTOR} or FIELDS not in content.config_records:
        raise ReplyRefused("malformed", _printable(f"records {sorted(content)}"))
    vectors = content.array_records.get(VECTOR)
    if vectors is None or set(vectors) != {VECTOR}:
        raise ReplyRefused("malformed", "there is not exactly one vector")
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
        # A node that does not name its site is not asked to train.
        return None


def _vector_record(vector: Vector) -> ArrayRecord:
    values = vector.values
    dtype = COUNTS_DTYPE if values.itemsize == 8 else VECTOR_DTYPE
    array = Array(dtype=dtype, shape=values.shape, stype=VECTOR_FORMAT, data=vector.data)
    return ArrayRecord({VECTOR: array})


def _printable(text: str) -> str:
    """Make text fit for a manifest: one line; of a long one, its beginning and its end.

    Ray wraps a site's error into a traceback, whose last words name the error.
    """
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return plain if len(plain) <= 300 else f"{plain[:80]} … {plain[-217:]}"
