"""Questions to the index. Each is one consistent look, in a few milliseconds at a million events.

Nothing here writes, and every value that comes from outside is a parameter of its query.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.explorer.errors import NotIndexed, QueryInvalid
from wardround.explorer.index.database import meta_of, open_reader, tip_of
from wardround.explorer.views import (
    Block,
    EventRow,
    Extent,
    Health,
    Page,
    Reorganisation,
    Transaction,
)

#: Rows of one page, at most.
PAGE_ROWS = 500

_EVENT = (
    "SELECT event.id, event.block, block.hash, block.timestamp, tx.hash, event.log_index, "
    "event.contract, event.name, study.study, event.round, event.site, event.args, event.topics, "
    "event.data FROM event JOIN block ON block.number = event.block JOIN tx ON tx.id = event.tx "
    "LEFT JOIN study ON study.id = event.study "
)


@dataclass(frozen=True)
class EventFilter:
    """Which events to show. Everything that is given must hold."""

    study: str | None = None
    round: int | None = None
    site: str | None = None
    address: str | None = None
    name: str | None = None
    from_block: int | None = None
    to_block: int | None = None


class Reader:
    """An index, open to read. Safe for several threads: each has its own connection."""

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            IndexUnusable: it is not there, or no index.
        """
        self.path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        with self.look():
            pass

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._local = threading.local()

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the index for several questions."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = open_reader(self.path)
            self._local.connection = connection
            with self._lock:
                self._opened.append(connection)
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")

    def version(self) -> int:
        """A number that is another one after anybody has written; for one thread to compare."""
        with self.look() as db:
            (version,) = db.execute("PRAGMA data_version").fetchone()
            return int(version)

    # ---------------------------------------------------------------- the index itself

    def extent(self) -> Extent:
        """The blocks that are indexed."""
        with self.look() as db:
            (first,) = db.execute("SELECT min(number) FROM block").fetchone()
            tip = tip_of(db)
            if tip is None:
                return Extent(0, -1, "0x" + "00" * 32, 0)
            (time,) = db.execute(
                "SELECT timestamp FROM block WHERE number = ?", (tip.number,)
            ).fetchone()
            return Extent(first, tip.number, tip.hash, time)

    def final_block(self) -> int:
        """The last block that counts as final."""
        with self.look() as db:
            tip = tip_of(db)
            confirmations = int(meta_of(db).get("confirmations", "0"))
            return -1 if tip is None else tip.number - confirmations

    def health(self) -> Health:
        """How far the index is, and what is in its way."""
        with self.look() as db:
            meta, extent = meta_of(db), self.extent()
            (count,) = db.execute("SELECT count(*) FROM reorganisation").fetchone()
            last = self.reorganisations(1)
            return Health(
                source=meta.get("source", ""),
                chain_id=int(meta["chain_id"]),
                contract=meta["contract"],
                court=meta["court"],
                state=meta.get("state", "catching up"),
                trouble=meta.get("trouble", ""),
                extent=extent,
                head=int(meta.get("head", "-1")),
                final_block=self.final_block(),
                confirmations=int(meta.get("confirmations", "0")),
                headers=meta.get("headers", "unknown"),
                store=meta.get("store", ""),
                events=int(meta.get("events", "0")),
                reorganisations=count,
                last_reorganisation=last[0] if last else None,
            )

    def reorganisations(self, limit: int = 50) -> list[Reorganisation]:
        """Those that were seen, the latest first."""
        with self.look() as db:
            rows = db.execute(
                "SELECT seen_at, ancestor, old_tip, old_hash, events_removed FROM reorganisation "
                "ORDER BY id DESC LIMIT ?",
                (limit,),
            )
            return [Reorganisation(*row) for row in rows]

    def names(self) -> dict[str, str]:
        """What a run's folder calls addresses."""
        with self.look() as db:
            return dict(db.execute("SELECT address, name FROM label").fetchall())

    # ---------------------------------------------------------------- events

    def events(
        self,
        chosen: EventFilter | None = None,
        cursor: str | None = None,
        limit: int = 50,
        newest_first: bool = True,
    ) -> Page[EventRow]:
        """Events in a page.

        Args:
            chosen: which.
            cursor: `Page.next` of the page before, or an event's `cursor` to go on behind it.
            limit: how many, at most `PAGE_ROWS`.
            newest_first: the order.

        Raises:
            QueryInvalid: a cursor or limit that means nothing.
        """
        check_limit(limit)
        conditions, values = _conditions(chosen or EventFilter())
        if cursor is not None:
            conditions.append(f"event.id {'<' if newest_first else '>'} ?")
            values.append(_cursor(cursor))
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        order = "DESC" if newest_first else "ASC"
        with self.look() as db:
            query = f"{_EVENT}{where}ORDER BY event.id {order} LIMIT ?"
            rows = self._event_rows(db, query, [*values, limit + 1])
            extent = self.extent()
        following = rows[limit - 1].cursor if len(rows) > limit else None
        return Page(rows[:limit], following, extent)

    def transaction(self, transaction_hash: str) -> Transaction:
        """A transaction by its hash.

        Raises:
            NotIndexed: none of the indexed events are of it.
        """
        with self.look() as db:
            row = db.execute(
                "SELECT tx.id, tx.hash, tx.block, block.hash, block.timestamp, sender, recipient, "
                "gas_used, raw FROM tx JOIN block ON block.number = tx.block WHERE tx.hash = ?",
                (transaction_hash,),
            ).fetchone()
            if row is None:
                raise self.missing("transaction", transaction_hash)
            events = self._event_rows(
                db, f"{_EVENT}WHERE event.tx = ? ORDER BY event.id LIMIT ?", [row[0], PAGE_ROWS]
            )
        raw = None if row[8] is None else "0x" + row[8].hex()
        return Transaction(*[*row[1:8], raw, events])

    def block(self, name: str) -> Block:
        """A block by its number or hash.

        Raises:
            NotIndexed: it is not in the index.
        """
        column = "number" if name.isdigit() else "hash"
        with self.look() as db:
            row = None
            if column == "hash" or int(name) < 1 << 63:
                row = db.execute(
                    f"SELECT number, hash, parent, timestamp FROM block WHERE {column} = ?",
                    (int(name) if column == "number" else name,),
                ).fetchone()
            if row is None:
                raise self.missing("block", name)
            events = self._event_rows(
                db, f"{_EVENT}WHERE event.block = ? ORDER BY event.id LIMIT ?", [row[0], PAGE_ROWS]
            )
            return Block(*[*row, row[0] <= self.final_block(), events])

    def missing(self, what: str, name: str) -> NotIndexed:
        """The error that something is not in the index, with the blocks that were looked at."""
        extent = self.extent()
        return NotIndexed(what, name, extent.first_block, extent.last_block)

    def _event_rows(
        self, db: sqlite3.Connection, query: str, values: Sequence[Any]
    ) -> list[EventRow]:
        final = self.final_block()
        return [_event_row(row, final) for row in db.execute(query, values)]


def _event_row(row: Sequence[Any], final: int) -> EventRow:
    topics: bytes = row[12]
    return EventRow(
        cursor=str(row[0]),
        block=row[1],
        block_hash=row[2],
        timestamp=row[3],
        final=row[1] <= final,
        transaction=row[4],
        log_index=row[5],
        contract=row[6],
        name=row[7],
        study=row[8],
        round=row[9],
        site=row[10],
        args=json.loads(row[11]),
        topics=["0x" + topics[at : at + 32].hex() for at in range(0, len(topics), 32)],
        data="0x" + row[13].hex(),
    )


def _conditions(chosen: EventFilter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if chosen.study is not None:
        conditions.append("event.study = (SELECT id FROM study WHERE study = ?)")
        values.append(chosen.study)
    for column, value in (("round", chosen.round), ("site", chosen.site), ("name", chosen.name)):
        if value is not None:
            conditions.append(f"event.{column} = ?")
            values.append(value)
    if chosen.address is not None:
        conditions.append(
            "event.id IN (SELECT event FROM mention WHERE address = ? "
            "UNION ALL SELECT id FROM event WHERE site = ?)"
        )
        values += [chosen.address, chosen.address]
    # Rather than of the block's column: keys begin with the block.
    if chosen.from_block is not None:
        conditions.append("event.id >= ?")
        values.append(_first_key(chosen.from_block))
    if chosen.to_block is not None:
        conditions.append("event.id < ?")
        values.append(_first_key(chosen.to_block + 1))
    return conditions, values


def _first_key(block: int) -> int:
    return min(max(block, 0) << 20, (1 << 63) - 1)


def cursor_key(cursor: str | None) -> int:
    """Read a page's cursor, for lists whose newest come first.

    Raises:
        QueryInvalid: no page has given it.
    """
    return (1 << 62) if cursor is None else _cursor(cursor)


def check_limit(limit: int) -> None:
    """Refuse more rows than a page has.

    Raises:
        QueryInvalid: it is out of range.
    """
    if not 1 <= limit <= PAGE_ROWS:
        raise QueryInvalid("limit", f"from 1 to {PAGE_ROWS}")


def _cursor(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise QueryInvalid("cursor", "it is none that a page has given")
    return int(text)
