"""Queries for events, and for the blocks and transactions that hold them.

A list of the newest events of a study with a million of them must not sort a million. Ids ascend
with the chain, so the index on (study, name) already has the events of each name in order; the
newest of each name together contain the newest of all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from wardround.chain.artifacts import load_artifact
from wardround.explorer.index.database import PLACES
from wardround.explorer.reader import PAGE_ROWS, Reader, check_limit, cursor_key
from wardround.explorer.rows import BlockDetail, EventRow, Page, TransactionDetail

_EVENT = """
SELECT event.id, event.block, block.hash AS block_hash, block.timestamp, tx.hash AS "transaction",
    event.log_index, event.contract, event.name, study.study, event.round, event.site, event.args,
    event.topics, event.data, tx.sender, specification.status,
    json_extract(specification.document, '$.study.name') AS study_name,
    coalesce(token.decimals, 0) AS decimals
FROM event JOIN block ON block.number = event.block JOIN tx ON tx.id = event.tx
LEFT JOIN study ON study.id = event.study
LEFT JOIN specification ON specification.study = event.study
LEFT JOIN token ON token.address = study.token
"""
_STORED = (
    "block", "block_hash", "timestamp", "transaction", "log_index", "contract", "name", "study",
    "round", "site",
)  # fmt: skip
_LAST = (1 << 63) - 1
#: Events of more rounds than this are not sorted.
_SORTED_ROUNDS = 50


@dataclass(frozen=True)
class EventFilter:
    """Which events; all conditions must hold, and ranges include both ends.

    Attributes:
        site: the event's own site.
        address: an address anywhere in the event, also as its site.
        round_to: with `round`, a range; `round` alone is one round.
    """

    study: str | None = None
    round: int | None = None
    site: str | None = None
    address: str | None = None
    name: str | None = None
    from_block: int | None = None
    to_block: int | None = None
    round_to: int | None = None


@cache
def event_names() -> tuple[str, ...]:
    """Every event of both contracts."""
    found = {
        item["name"]
        for contract in ("WardRound", "Court")
        for item in load_artifact(contract).abi
        if item["type"] == "event"
    }
    return tuple(sorted(found))


def list_events(
    reader: Reader,
    chosen: EventFilter | None = None,
    cursor: str | None = None,
    limit: int = 50,
    *,
    newest_first: bool = True,
) -> Page[EventRow]:
    """Events in a page.

    Args:
        reader: the index.
        chosen: which.
        cursor: `Page.next` of the page before, or the `cursor` of an event to continue after it.
        limit: how many, at most `PAGE_ROWS`.
        newest_first: the order.

    Raises:
        QueryInvalid: the cursor or the limit is invalid.
    """
    check_limit(limit)
    chosen = chosen or EventFilter()
    # Ids begin with the block.
    low, high = _first_id(chosen.from_block or 0), _LAST
    if chosen.to_block is not None:
        high = _first_id(chosen.to_block + 1)
    if cursor is not None and newest_first:
        high = min(high, cursor_key(cursor))
    elif cursor is not None:
        low = max(low, cursor_key(cursor) + 1)
    with reader.look() as db:
        ids = _ids(db, chosen, (low, high), limit + 1, newest_first)
        following = str(ids[limit - 1]) if len(ids) > limit else None
        return Page(_rows(reader, db, ids[:limit]), following, reader.extent())


def event_pages(
    reader: Reader,
    chosen: EventFilter,
    cursor: str | None = None,
    *,
    newest_first: bool = False,
) -> Iterator[list[EventRow]]:
    """All matching events, a page at a time: memory does not grow with their number."""
    while True:
        page = list_events(reader, chosen, cursor, PAGE_ROWS, newest_first=newest_first)
        yield page.rows
        cursor = page.next
        if cursor is None:
            return


def last_event(reader: Reader) -> int:
    """Id of the newest event; 0 without events."""
    with reader.look() as db:
        (found,) = db.execute("SELECT max(id) FROM event").fetchone()
        return int(found or 0)


def read_event(reader: Reader, block_hash: str, log_index: int) -> EventRow:
    """The event at a place that always names the same event, also after a reorganisation.

    Raises:
        NotIndexed: the block is not indexed, or the log is not one of the contracts'.
    """
    with reader.look() as db:
        found = db.execute(
            "SELECT event.id FROM event JOIN block ON block.number = event.block "
            "WHERE block.hash = ? AND event.log_index = ?",
            (block_hash, log_index),
        ).fetchone()
        if found is None:
            raise reader.missing(f"event {log_index} of block {block_hash}")
        return _rows(reader, db, [found[0]])[0]


def event_data(reader: Reader, study: str, block_hash: str, name: str, number: int | None) -> bytes:
    """Data of a study's event as the node gave it; empty without such an event."""
    with reader.look() as db:
        found = db.execute(
            "SELECT event.data FROM event JOIN study ON study.id = event.study "
            "JOIN block ON block.number = event.block WHERE study.study = ? AND event.name = ? "
            "AND event.round IS ? AND block.hash = ? ORDER BY event.id DESC LIMIT 1",
            (study, name, number, block_hash),
        ).fetchone()
        return bytes(found[0]) if found else b""


def read_transaction(reader: Reader, transaction_hash: str) -> TransactionDetail:
    """A transaction by its hash, with its events, oldest first.

    Raises:
        NotIndexed: it has no indexed event.
    """
    with reader.look() as db:
        row = db.execute(
            "SELECT tx.hash, tx.block, block.hash, block.timestamp, sender, recipient, gas_used, "
            "raw, tx.id FROM tx JOIN block ON block.number = tx.block WHERE tx.hash = ?",
            (transaction_hash,),
        ).fetchone()
        if row is None:
            raise reader.missing(f"transaction {transaction_hash}")
        raw = None if row[7] is None else "0x" + row[7].hex()
        return TransactionDetail(*[*row[:7], raw, _events_with(reader, db, "tx", row[8])])


def read_block(reader: Reader, name: str) -> BlockDetail:
    """A block by its number or hash, with its events, oldest first.

    Raises:
        NotIndexed: it is not in the index.
    """
    by_number = name.isdigit()
    with reader.look() as db:
        row = None
        if not by_number or int(name) <= _LAST:
            row = db.execute(
                "SELECT number, hash, parent, timestamp FROM block "
                f"WHERE {'number' if by_number else 'hash'} = ?",
                (int(name) if by_number else name,),
            ).fetchone()
        if row is None:
            raise reader.missing(f"block {name}")
        events = _events_with(reader, db, "block", row[0])
        return BlockDetail(*[*row, row[0] <= reader.final_block(), events])


def _events_with(reader: Reader, db: sqlite3.Connection, column: str, key: int) -> list[EventRow]:
    found = db.execute(
        f"SELECT id FROM event WHERE {column} = ? ORDER BY id LIMIT ?", (key, PAGE_ROWS)
    ).fetchall()
    return _rows(reader, db, [row[0] for row in found])


def _first_id(block: int) -> int:
    return min(block * PLACES, _LAST)


def _ids(
    db: sqlite3.Connection,
    chosen: EventFilter,
    bounds: tuple[int, int],
    limit: int,
    newest_first: bool,
) -> list[int]:
    """Ids of the first matching events, in order."""
    conditions: list[str] = []
    values: list[Any] = []
    ranged = chosen.round is not None or chosen.round_to is not None
    first = chosen.round or 0
    last = first if chosen.round_to is None else chosen.round_to
    if chosen.study is not None:
        key = db.execute("SELECT id FROM study WHERE study = ?", (chosen.study,)).fetchone()
        if key is None:
            return []
        conditions.append("event.study = ?")
        values += key
    if ranged:
        conditions.append("event.round BETWEEN ? AND ?")
        values += (first, last)
    for column in ("name", "site"):
        if (value := getattr(chosen, column)) is not None:
            conditions.append(f"event.{column} = ?")
            values.append(value)
    direction = "DESC" if newest_first else "ASC"

    def found(
        extra: str = "", *more: Any, key: str = "event.id", source: str = "event"
    ) -> set[int]:
        where = " AND ".join([f"{key} >= ?", f"{key} < ?", *conditions, *filter(None, [extra])])
        query = f"SELECT {key} FROM {source} WHERE {where} ORDER BY {key} {direction} LIMIT ?"
        return {row[0] for row in db.execute(query, [*bounds, *values, *more, limit])}

    def of_each_name(extra: str = "", *more: Any) -> set[int]:
        names = event_names() if chosen.name is None else (chosen.name,)
        each = f"{extra} AND event.name = ?" if extra else "event.name = ?"
        return set[int]().union(*(found(each, *more, name) for name in names))

    sited = chosen.site is not None or chosen.address is not None
    # Few enough to sort: one round, or what one site did in one study.
    sorted_quickly = ranged or (sited and chosen.study is not None)
    by_name = of_each_name if not sorted_quickly and (sited or chosen.study is not None) else found
    if chosen.address is not None:
        ids = by_name("event.site = ?", chosen.address) | found(
            "mention.address = ?",
            chosen.address,
            key="mention.event",
            source="mention CROSS JOIN event ON event.id = mention.event",
        )
    elif ranged and not sited and chosen.name is None and last - first > _SORTED_ROUNDS:
        # Too many to sort: read events in order, not by the index on rounds.
        conditions = [f"+{one}" for one in conditions]
        ids = found()
    else:
        ids = by_name()
    return sorted(ids, reverse=newest_first)[:limit]


def _rows(reader: Reader, db: sqlite3.Connection, ids: Sequence[int]) -> list[EventRow]:
    final = reader.final_block()
    marks = ", ".join("?" * len(ids))
    found = {
        row["id"]: _row(row, final)
        for row in db.execute(f"{_EVENT}WHERE event.id IN ({marks})", list(ids))
    }
    return [found[one] for one in ids]


def _row(row: sqlite3.Row, final: int) -> EventRow:
    topics: bytes = row["topics"]
    return EventRow(
        **{name: row[name] for name in _STORED},
        cursor=str(row["id"]),
        final=row["block"] <= final,
        args=json.loads(row["args"]),
        topics=["0x" + topics[at : at + 32].hex() for at in range(0, len(topics), 32)],
        data="0x" + row["data"].hex(),
        study_name=row["study_name"] if row["status"] == "verified" else None,
        decimals=row["decimals"],
        sender=row["sender"],
    )
