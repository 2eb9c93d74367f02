"""Keeps the index equal to the chain: extends it from the tip, or rolls it back to the fork."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wardround.chain.headers import BlockHeader
from wardround.explorer.errors import IndexUnusable
from wardround.explorer.index.database import PLACES, IndexTip, set_meta, tip_of, transaction
from wardround.explorer.index.decode import Decoded, EventTable
from wardround.explorer.index.node import HEADERS_AT_ONCE, Node, Range
from wardround.explorer.index.project import Projector
from wardround.host.backoff import pauses
from wardround.protocol.errors import Retryable, WardroundError

#: Blocks in one transaction, at most and to begin with.
LONGEST_SPAN = 2000
_FIRST_SPAN = 500
_FIRST_PAUSE_SECONDS, _ATTEMPTS = 0.2, 6


@dataclass(frozen=True)
class Extended:
    """Blocks were added."""

    first: int
    last: int
    events: int


@dataclass(frozen=True)
class RolledBack:
    """The chain has reorganised: blocks behind the ancestor were removed."""

    ancestor: int
    old_tip: int
    events_removed: int


@dataclass(frozen=True)
class UpToDate:
    """The node has nothing newer; `behind` is by how many blocks it is older than the index."""

    tip: int
    behind: int = 0


@dataclass(frozen=True)
class Overtaken:
    """Another process has written the index meanwhile, and nothing was taken in: look again."""


Step = Extended | RolledBack | UpToDate | Overtaken


class Follower:
    """Fills an index from a node.

    Attributes:
        node: the chain's endpoint.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        node: Node,
        events: EventTable,
        first_block: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Begin where the index is.

        Args:
            connection: an index open to write, see `open_writer`.
            node: the chain's endpoint.
            events: the events of both contracts.
            first_block: where a new index begins; not behind the contract's creation.
            now: seconds since 1970, noted with reorganisations.
        """
        self.node = node
        self._db = connection
        self._events = events
        self._first_block = first_block
        self._projector = Projector(connection)
        self._now = now
        self._span = _FIRST_SPAN

    def step(self) -> Step:
        """Look at the chain once and take in at most one batch.

        Raises:
            NodeUnreliable: the node contradicts itself or left something out.
            ExplorerError: an event cannot be decoded; names its place.
            ChainError: the node cannot be asked.
            After each of them nothing was taken in.
        """
        tip, head = tip_of(self._db), self.node.head()
        if tip is None:
            if head.number < self._first_block:
                return UpToDate(self._first_block - 1)
            return self._extend(None, head.number)
        if head.number > tip.number:
            return self._extend(tip, head.number)
        if (head.number, head.hash) == (tip.number, tip.hash):
            self._note_head(head)
            return UpToDate(tip.number)
        kept = self._stored_hash(head.number)
        if kept == head.hash:
            return UpToDate(tip.number, tip.number - head.number)
        return self._roll_back(tip, min(head.number, tip.number - 1))

    def catch_up(self) -> None:
        """Take in all there is.

        Raises:
            As `step`; retryable errors after a few attempts.
        """
        failures, again = 0, pauses(_FIRST_PAUSE_SECONDS)
        while True:
            try:
                step = self.step()
            except WardroundError as error:
                failures += 1
                if not isinstance(error, Retryable) or failures == _ATTEMPTS:
                    raise
                time.sleep(next(again))
                continue
            failures, again = 0, pauses(_FIRST_PAUSE_SECONDS)
            if isinstance(step, UpToDate):
                return

    # ---------------------------------------------------------------- forward

    def _extend(self, tip: IndexTip | None, head: int) -> Step:
        first = self._first_block if tip is None else tip.number + 1
        found = self._range(first, head)
        if tip is not None and found.headers[0].parent != tip.hash:
            return self._roll_back(tip, tip.number - 1)
        count = self.take_in(found, tip, head)
        return Overtaken() if count is None else Extended(first, found.headers[-1].number, count)

    def take_in(self, found: Range, tip: IndexTip | None = None, head: int = -1) -> int | None:
        """Write blocks and the events in them, all or nothing; return how many events.

        Args:
            found: blocks that follow the tip.
            tip: what the tip must be; None for any.
            head: the latest block that the node has reported.

        Returns:
            None, with nothing written, when another process has moved the tip.

        Raises:
            NodeUnreliable, ExplorerError: names the event's place.
        """
        decoded = [self._events.decode(log) for log in found.logs]
        try:
            with transaction(self._db):
                if (tip is not None or head >= 0) and not self._is_at(tip):
                    return None
                self._insert(found.headers, decoded)
                self._projector.add(decoded)
                self._note(found.headers[-1], head, len(decoded))
        except BaseException:
            self._projector.forget()
            raise
        return len(decoded)

    def _range(self, first: int, head: int) -> Range:
        found = self.node.range(first, min(head, first + self._span - 1))
        if len(found.logs) < 5 * LONGEST_SPAN:
            self._span = min(LONGEST_SPAN, self._span + self._span // 4 + 1)
        else:
            self._span = max(1, self._span // 2)
        return found

    def _insert(self, headers: Sequence[BlockHeader], events: Sequence[Decoded]) -> None:
        self._db.executemany(
            "INSERT INTO block VALUES (?, ?, ?, ?)",
            [(one.number, one.hash, one.parent, one.timestamp) for one in headers],
        )
        transactions = {
            event.log.block * PLACES + event.log.position: (
                event.log.block * PLACES + event.log.position,
                event.log.transaction_hash,
                event.log.block,
            )
            for event in events
        }
        self._db.executemany(
            "INSERT INTO tx (id, hash, block) VALUES (?, ?, ?)", list(transactions.values())
        )

    def _note(self, header: BlockHeader, head: int, events: int) -> None:
        follows = {None: "unknown", True: "recomputed", False: "not recomputable"}
        values = {
            "head": str(max(head, header.number)),
            "headers": follows[self.node.hashes_follow],
        }
        set_meta(self._db, values)
        self._count(events)

    def _count(self, change: int) -> None:
        # Kept, because to count a million rows takes longer than a page may.
        self._db.execute(
            "INSERT INTO meta VALUES ('events', ?1) ON CONFLICT (key) "
            "DO UPDATE SET value = CAST(value AS INTEGER) + ?1",
            (change,),
        )

    def _note_head(self, head: BlockHeader) -> None:
        # Compared first: an idle chain must not cause a write at every poll.
        row = self._db.execute("SELECT value FROM meta WHERE key = 'head'").fetchone()
        if row != (str(head.number),):
            with transaction(self._db):
                set_meta(self._db, {"head": str(head.number)})

    def _is_at(self, tip: IndexTip | None) -> bool:
        if tip_of(self._db) == tip:
            return True
        self._projector.forget()
        return False

    # ---------------------------------------------------------------- back

    def _roll_back(self, tip: IndexTip, at_most: int) -> RolledBack | Overtaken:
        ancestor = self._ancestor(at_most)
        with transaction(self._db):
            if not self._is_at(tip):
                return Overtaken()
            studies = [
                row[0]
                for row in self._db.execute(
                    "SELECT DISTINCT study FROM event WHERE block > ? AND study IS NOT NULL",
                    (ancestor,),
                )
            ]
            (removed,) = self._db.execute(
                "SELECT count(*) FROM event WHERE block > ?", (ancestor,)
            ).fetchone()
            self._db.execute("DELETE FROM block WHERE number > ?", (ancestor,))
            self._projector.rebuild(studies)
            self._count(-removed)
            self._db.execute(
                "INSERT INTO reorganisation "
                "(seen_at, ancestor, old_tip, old_hash, events_removed) VALUES (?, ?, ?, ?, ?)",
                (int(self._now()), ancestor, tip.number, tip.hash, removed),
            )
        return RolledBack(ancestor, tip.number, removed)

    def _ancestor(self, at_most: int) -> int:
        """The last stored block, up to `at_most`, that the node has too."""
        (first,) = self._db.execute("SELECT min(number) FROM block").fetchone()
        last = at_most
        length = 8
        while last >= first:
            # Most reorganisations are short: few at first, then more.
            numbers = range(max(first, last - length + 1), last + 1)
            for header in reversed(self.node.headers(numbers)):
                if self._stored_hash(header.number) == header.hash:
                    return header.number
            last -= length
            length = min(HEADERS_AT_ONCE, 4 * length)
        (path,) = self._db.execute("SELECT file FROM pragma_database_list").fetchone()
        reason = f"{self.node.rpc.url} has none of its blocks: this is another chain"
        raise IndexUnusable(path, reason)

    def _stored_hash(self, number: int) -> str | None:
        row = self._db.execute("SELECT hash FROM block WHERE number = ?", (number,)).fetchone()
        return None if row is None else str(row[0])
