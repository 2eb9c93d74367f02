"""Questions that only pages ask: event lists in any filter, names, and samples for charts.

A list of the newest events of a study of a million must not sort a million: ids ascend with the
chain, so for each event name the index on (study, name) has them in order already, and the newest
of each, put together, hold the newest of all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from contracts import load_artifact
from explorer.reader import Reader
from explorer.web.rows import EventRow

_EVENT = (
    "SELECT event.id, event.block, block.hash, event.log_index, block.timestamp, event.name, "
    "study.study, json_extract(specification.document, '$.study.name'), specification.status, "
    "event.round, event.site, tx.hash, event.contract, event.args, event.topics, event.data "
    "FROM event JOIN block ON block.number = event.block JOIN tx ON tx.id = event.tx "
    "LEFT JOIN study ON study.id = event.study "
    "LEFT JOIN specification ON specification.study = event.study "
)
_LAST = (1 << 63) - 1


@cache
def event_names() -> tuple[str, ...]:
    """Every event that either contract has."""
    found = {
        item["name"]
        for contract in ("WardRound", "Court")
        for item in load_artifact(contract).abi
        if item["type"] == "event"
    }
    return tuple(sorted(found))


@dataclass(frozen=True)
class Wanted:
    """Which events; everything that is given must hold. Ranges include both ends."""

    name: str | None = None
    study: str | None = None
    site: str | None = None
    round: int | None = None
    round_to: int | None = None
    block: int | None = None
    block_to: int | None = None

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return any(value is not None for value in vars(self).values())

    def query(self) -> dict[str, object]:
        """As it is written in an address."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def words(self) -> str:
        """As it is said: 'of this site in rounds 10 to 20'."""
        said = []
        if self.study:
            said.append(f"of study {self.study[:10]}…")
        if self.site:
            said.append(f"of site {self.site[:10]}…")
        for what, low, high in (
            ("round", self.round, self.round_to),
            ("block", self.block, self.block_to),
        ):
            if low is not None and high is not None and low != high:
                said.append(f"in {what}s {low} to {high}")
            elif low is not None and (high is not None or what == "round"):
                said.append(f"in {what} {low}")
            elif low is not None:
                said.append(f"from {what} {low} on")
            elif high is not None:
                said.append(f"up to {what} {high}")
        return " ".join(said)


def newest(reader: Reader, wanted: Wanted, limit: int, before: int | None = None) -> list[EventRow]:
    """Events from the newest on.

    Args:
        reader: the index.
        wanted: which.
        limit: how many at most.
        before: only those with a smaller id.
    """
    with reader.look() as db:
        ids = list(_newest_ids(db, wanted, limit, _LAST if before is None else before))
        return _rows(db, ids)


def since(reader: Reader, after: int, limit: int) -> list[EventRow]:
    """Events with a greater id, the oldest first: what a page does not show yet."""
    with reader.look() as db:
        found = db.execute(
            "SELECT id FROM event WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        ).fetchall()
        return sorted(_rows(db, [row[0] for row in found]), key=lambda event: event.id)


def last_id(reader: Reader) -> int:
    """Id of the newest event; 0 when there is none."""
    with reader.look() as db:
        (found,) = db.execute("SELECT max(id) FROM event").fetchone()
        return int(found or 0)


def event_at(reader: Reader, block_hash: str, log_index: int) -> EventRow | None:
    """The event at a place of the chain that never changes its meaning."""
    with reader.look() as db:
        found = db.execute(
            "SELECT event.id FROM event JOIN block ON block.number = event.block "
            "WHERE block.hash = ? AND event.log_index = ?",
            (block_hash, log_index),
        ).fetchone()
        return _rows(db, [found[0]])[0] if found else None


def of_transaction(reader: Reader, transaction: str) -> list[EventRow]:
    """Events of a transaction, the newest first."""
    with reader.look() as db:
        found = db.execute(
            "SELECT event.id FROM event JOIN tx ON tx.id = event.tx WHERE tx.hash = ? "
            "ORDER BY event.id DESC LIMIT 500",
            (transaction,),
        ).fetchall()
        return _rows(db, [row[0] for row in found])


def raw_event(reader: Reader, study: str, block_hash: str, name: str, number: int | None) -> bytes:
    """Data of a study's event as the node gave it; empty when there is none."""
    with reader.look() as db:
        found = db.execute(
            "SELECT event.data FROM event JOIN study ON study.id = event.study "
            "JOIN block ON block.number = event.block WHERE study.study = ? AND event.name = ? "
            "AND event.round IS ? AND block.hash = ? ORDER BY event.id DESC LIMIT 1",
            (study, name, number, block_hash),
        ).fetchone()
        return bytes(found[0]) if found else b""


@dataclass(frozen=True)
class Sample:
    """One round of a chart: accuracy as a run's folder states it, loss and rewards by manifests."""

    round: int
    accuracy: dict[str, float]
    pooled: float | None
    loss: dict[str, float]
    cumulative: dict[str, int]


def samples(reader: Reader, study: str, sites: int, rounds_max: int = 60) -> list[Sample]:
    """Rounds for charts, evenly spread and the last one among them.

    Args:
        reader: the index.
        study: its id.
        sites: how many members it has: what is read of each round grows with them.
        rounds_max: how many rounds at most.
    """
    with reader.look() as db:
        found = db.execute(
            "SELECT closing.id, closing.round FROM closing JOIN study ON study.id = closing.study "
            "WHERE study.study = ? AND closing.overturned IS NULL ORDER BY closing.round",
            (study,),
        ).fetchall()
        kept = max(2, min(rounds_max, 3000 // max(1, sites)))
        step = max(1, -(-len(found) // kept))
        chosen = found[::-1][::step][::-1]
        return [_sample(db, study, key, number) for key, number in chosen]


def _sample(db: sqlite3.Connection, study: str, key: int, number: int) -> Sample:
    stated = db.execute(
        "SELECT document FROM statement WHERE study = ? AND round = ?", (study, number)
    ).fetchone()
    document = json.loads(stated[0]) if stated else {}
    loss, cumulative = {}, {}
    for site, value, amount in db.execute(
        "SELECT site, json_extract(report_document, '$.metrics.train_loss'), cumulative "
        "FROM entry WHERE closing = ?",
        (key,),
    ):
        if isinstance(value, int | float):
            loss[site] = float(value)
        if amount is not None:
            cumulative[site] = int(amount)
    return Sample(
        round=number,
        accuracy=_shares(document.get("accuracy")),
        pooled=next(iter(_shares({"": document.get("pooled_accuracy")}).values()), None),
        loss=loss,
        cumulative=cumulative,
    )


def accuracy_of(statement: Any) -> dict[str, float]:
    """Accuracy by site as a run's folder states it for a round; what is no share is left out."""
    return _shares(statement.get("accuracy")) if isinstance(statement, dict) else {}


def _shares(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    return {
        str(site): float(share)
        for site, share in value.items()
        if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1
    }


# -------------------------------------------------------------------- inside


def _newest_ids(db: sqlite3.Connection, wanted: Wanted, limit: int, before: int) -> Iterator[int]:
    # Ids begin with the block.
    low = 0 if wanted.block is None else wanted.block << 20
    high = before if wanted.block_to is None else min(before, (wanted.block_to + 1) << 20)
    low, high = min(low, _LAST), min(high, _LAST)
    conditions: list[str] = ["id >= ?", "id < ?"]
    values: list[Any] = [low, high]
    rounds = wanted.round is not None or wanted.round_to is not None
    if wanted.study is not None:
        key = db.execute("SELECT id FROM study WHERE study = ?", (wanted.study,)).fetchone()
        if key is None:
            return
        conditions.append("study = ?")
        values.append(key[0])
    if wanted.site is not None:
        if wanted.study is None and not rounds:
            yield from _newest_of_site(db, wanted, limit, (low, high))
            return
        # Whatever names the address: as the site of an event, or as another party to it.
        ids = db.execute(
            "SELECT id FROM event WHERE site = ? UNION ALL "
            "SELECT event FROM mention WHERE address = ? ",
            (wanted.site, wanted.site),
        )
        yield from _filtered(db, wanted, {row[0] for row in ids}, limit, (low, high))
        return
    if rounds:
        conditions.append("round BETWEEN ? AND ?")
        first = wanted.round or 0
        # A round alone is that round.
        last = first if wanted.round_to is None else wanted.round_to
        values += [first, last]
    if wanted.name is not None:
        conditions.append("name = ?")
        values.append(wanted.name)
    where = " AND ".join(conditions)
    if wanted.study is None or wanted.name is not None or rounds:
        found = db.execute(
            f"SELECT id FROM event WHERE {where} ORDER BY id DESC LIMIT ?", [*values, limit]
        )
        yield from (row[0] for row in found)
        return
    merged: list[int] = []
    for name in event_names():
        part = db.execute(
            f"SELECT id FROM event WHERE {where} AND name = ? ORDER BY id DESC LIMIT ?",
            [*values, name, limit],
        )
        merged += [row[0] for row in part]
    yield from sorted(merged, reverse=True)[:limit]


def _newest_of_site(
    db: sqlite3.Connection, wanted: Wanted, limit: int, bounds: tuple[int, int]
) -> Iterator[int]:
    found: set[int] = set()
    for name in event_names() if wanted.name is None else (wanted.name,):
        part = db.execute(
            "SELECT id FROM event WHERE site = ? AND name = ? AND id >= ? AND id < ? "
            "ORDER BY id DESC LIMIT ?",
            (wanted.site, name, *bounds, limit),
        )
        found.update(row[0] for row in part)
    named = db.execute(
        "SELECT mention.event FROM mention JOIN event ON event.id = mention.event "
        "WHERE mention.address = ?1 AND mention.event >= ?2 AND mention.event < ?3 "
        "AND (?4 IS NULL OR event.name = ?4) ORDER BY mention.event DESC LIMIT ?5",
        (wanted.site, *bounds, wanted.name, limit),
    )
    found.update(row[0] for row in named)
    yield from sorted(found, reverse=True)[:limit]


def _filtered(
    db: sqlite3.Connection,
    wanted: Wanted,
    ids: set[int],
    limit: int,
    bounds: tuple[int, int],
) -> Iterator[int]:
    key = None
    if wanted.study is not None:
        (key,) = db.execute("SELECT id FROM study WHERE study = ?", (wanted.study,)).fetchone()
    first = wanted.round or 0
    last = wanted.round_to if wanted.round_to is not None else wanted.round
    count = 0
    for one in sorted(ids, reverse=True):
        if not bounds[0] <= one < bounds[1]:
            continue
        study, number, name = db.execute(
            "SELECT study, round, name FROM event WHERE id = ?", (one,)
        ).fetchone()
        if key is not None and study != key:
            continue
        if wanted.name is not None and name != wanted.name:
            continue
        if last is not None and (number is None or not first <= number <= last):
            continue
        yield one
        count += 1
        if count == limit:
            return


def _rows(db: sqlite3.Connection, ids: Sequence[int]) -> list[EventRow]:
    found: dict[int, EventRow] = {}
    for part in _parts(ids, 500):
        marks = ", ".join("?" * len(part))
        for row in db.execute(f"{_EVENT}WHERE event.id IN ({marks})", part):
            found[row[0]] = _row(row)
    return [found[one] for one in ids]


def _parts(ids: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))


def _row(row: Sequence[Any]) -> EventRow:
    topics: bytes = row[14]
    return EventRow(
        id=row[0],
        block=row[1],
        block_hash=row[2],
        log_index=row[3],
        time=row[4],
        name=row[5],
        study=row[6],
        study_name=row[7] if row[8] == "verified" else None,
        round=row[9],
        site=row[10],
        transaction=row[11],
        contract=row[12],
        args=json.loads(row[13]),
        topics=tuple("0x" + topics[at : at + 32].hex() for at in range(0, len(topics), 32)),
        data="0x" + row[15].hex(),
    )
