"""The index, opened to read. The queries are beside this file, one module for each kind of row.

Each query is one consistent view, and takes a few milliseconds at a million events. None writes;
every value from outside is a bound parameter.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround.explorer.errors import NotIndexed, QueryInvalid
from wardround.explorer.index.database import meta_of, open_reader, tip_of
from wardround.explorer.rows import Extent, Health, Reorganisation

#: Rows of one page, at most.
PAGE_ROWS = 500


class Reader:
    """An index, open to read. Thread-safe: each thread has its own connection."""

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            IndexUnusable: there is no such file, or it is not an index.
        """
        self.path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        with self.look():
            pass

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._local = threading.local()

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the index for several queries."""
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
        """How far the index is, and the error that keeps it from going on."""
        with self.look() as db:
            meta = meta_of(db)
            (count,) = db.execute("SELECT count(*) FROM reorganisation").fetchone()
            return Health(
                source=meta.get("source", ""),
                chain_id=int(meta["chain_id"]),
                contract=meta["contract"],
                court=meta["court"],
                state=meta.get("state", "catching up"),
                trouble=meta.get("trouble", ""),
                extent=self.extent(),
                head=int(meta.get("head", "-1")),
                final_block=self.final_block(),
                confirmations=int(meta.get("confirmations", "0")),
                headers=meta.get("headers", "unknown"),
                store=meta.get("store", ""),
                events=int(meta.get("events", "0")),
                reorganisations=count,
                last_reorganisation=next(iter(self.reorganisations(1)), None),
            )

    def reorganisations(self, limit: int = 50) -> list[Reorganisation]:
        """Reorganisations, the latest first."""
        with self.look() as db:
            rows = db.execute(
                "SELECT seen_at, ancestor, old_tip, old_hash, events_removed FROM reorganisation "
                "ORDER BY id DESC LIMIT ?",
                (limit,),
            )
            return [Reorganisation(*row) for row in rows]

    def names(self) -> dict[str, str]:
        """Names of addresses, from a run's folder."""
        with self.look() as db:
            return dict(db.execute("SELECT address, name FROM label").fetchall())

    def missing(self, what: str) -> NotIndexed:
        """The error that `what` is not in the index, with the indexed blocks."""
        extent = self.extent()
        return NotIndexed(what, extent.first_block, extent.last_block)

    def study_key(self, study: str) -> int:
        """The index's own key of a study.

        Raises:
            NotIndexed: there is no study with this id.
        """
        with self.look() as db:
            row = db.execute("SELECT id FROM study WHERE study = ?", (study,)).fetchone()
        if row is None:
            raise self.missing(f"study {study}")
        return int(row[0])


def cursor_key(cursor: str | None, end: int = 1 << 62) -> int:
    """Read a page's cursor; `end` where the first page is meant.

    Raises:
        QueryInvalid: not a cursor.
    """
    if cursor is None:
        return end
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise QueryInvalid("cursor", "it is invalid, use one from a page's `next`")
    return int(cursor)


def check_limit(limit: int) -> None:
    """Check how many rows are asked for.

    Raises:
        QueryInvalid: it is out of range.
    """
    if not 1 <= limit <= PAGE_ROWS:
        raise QueryInvalid("limit", f"from 1 to {PAGE_ROWS}")
