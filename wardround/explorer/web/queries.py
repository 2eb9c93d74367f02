"""Questions that only pages ask: event lists in any filter, names, and samples for charts.

A list of the newest events of a study of a million must not sort a million: ids ascend with the
chain, so for each event name the index on (study, name) has them in order already, and the newest
of each, put together, hold the newest of all.
"""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from wardround.chain.artifacts import load_artifact
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import round_rows, round_summary
from wardround.explorer.views import RoundSummary
from wardround.explorer.web.rows import EventRow

_EVENT = (
    "SELECT event.id, event.block, block.hash, event.log_index, block.timestamp, event.name, "
    "study.study, json_extract(specification.document, '$.study.name'), specification.status, "
    "event.round, event.site, tx.hash, event.contract, event.args, event.topics, event.data "
    "FROM event JOIN block ON block.number = event.block JOIN tx ON tx.id = event.tx "
    "LEFT JOIN study ON study.id = event.study "
    "LEFT JOIN specification ON specification.study = event.study "
)
_LAST = (1 << 63) - 1
#: Events of more rounds than this are not sorted to find the newest.
_SORTED_ROUNDS = 50
#: Rows of entries that charts read at once, and those that are kept.
_SAMPLED_ROWS = 2000
_SAMPLES_KEPT = 2000


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


def overturned_in(reader: Reader, study: str, number: int, commitment: str) -> str | None:
    """Hash of the block that a round was closed in so, where that closing does not stand."""
    with reader.look() as db:
        row = db.execute(
            "SELECT block.hash, closing.overturned FROM closing "
            "JOIN study ON study.id = closing.study JOIN event ON event.id = closing.id "
            "JOIN block ON block.number = event.block "
            "WHERE study.study = ? AND closing.round = ? AND closing.commitment = ? "
            # The same bytes may have been closed again.
            "ORDER BY closing.overturned IS NULL DESC, closing.id DESC LIMIT 1",
            (study, number, commitment),
        ).fetchone()
    return None if row is None or row[1] is None else str(row[0])


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
            "SELECT closing.id, closing.round, manifest.id FROM closing "
            "JOIN study ON study.id = closing.study "
            "LEFT JOIN manifest ON manifest.closing = closing.id "
            "WHERE study.study = ? AND closing.overturned IS NULL ORDER BY closing.round",
            (study,),
        ).fetchall()
        kept = max(2, min(rounds_max, _SAMPLED_ROWS // max(1, sites)))
        step = max(1, -(-len(found) // kept))
        # Always the same ones, so that a new round adds one and what was read can be kept.
        chosen = [row for row in found if step == 1 or row[1] % step == 0 or row is found[-1]]
        return [_kept(reader, db, study, row) for row in chosen]


def standing(reader: Reader, study: str, limit: int) -> list[RoundSummary]:
    """The last rounds that stand, the newest first."""
    with reader.look() as db:
        ids = db.execute(
            "SELECT closing.id FROM closing JOIN study ON study.id = closing.study "
            "WHERE study.study = ? AND overturned IS NULL ORDER BY closing.round DESC LIMIT ?",
            (study, limit),
        ).fetchall()
        extent = reader.extent()
        return [round_summary(row, extent) for row in round_rows(db, [row[0] for row in ids])]


_samples: OrderedDict[tuple[Any, ...], Sample] = OrderedDict()
_samples_lock = Lock()


def _kept(reader: Reader, db: sqlite3.Connection, study: str, row: Sequence[Any]) -> Sample:
    """A round's sample; a closing whose manifest was looked at anew is read anew."""
    key = (str(reader.path), study, *row)
    with _samples_lock:
        if key in _samples:
            _samples.move_to_end(key)
            return _samples[key]
    sample = _sample(db, study, row[0], row[1])
    # A manifest that is not looked at yet, or a block that may go again, is not kept.
    if row[2] is not None and row[0] >> 20 <= reader.final_block():
        with _samples_lock:
            _samples[key] = sample
            while sum(len(one.loss) + 8 for one in _samples.values()) > 50 * _SAMPLES_KEPT:
                _samples.popitem(last=False)
    return sample


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
        else:
            yield from _of_site(db, wanted, limit, (low, high), values[2:])
        return
    first = last = 0
    if rounds:
        conditions.append("round BETWEEN ? AND ?")
        first = wanted.round or 0
        # A round alone is that round.
        last = first if wanted.round_to is None else wanted.round_to
        values += [first, last]
    if wanted.name is not None:
        conditions.append("name = ?")
        values.append(wanted.name)
    if rounds and wanted.name is None and last - first > _SORTED_ROUNDS:
        # Too many to sort: go through ids from the newest on, by no other index.
        conditions = [one if one.startswith("id") else f"+{one}" for one in conditions]
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


def _of_site(
    db: sqlite3.Connection,
    wanted: Wanted,
    limit: int,
    bounds: tuple[int, int],
    study: Sequence[int],
) -> Iterator[int]:
    """Whatever names the address, as the site of an event or as another party, and more."""
    first, last = wanted.round, wanted.round if wanted.round_to is None else wanted.round_to
    where = (
        "event.id >= ?2 AND event.id < ?3 AND (?4 IS NULL OR event.study = ?4) "
        "AND (?5 IS NULL OR event.round >= ?5) AND (?6 IS NULL OR event.round <= ?6) "
        "AND (?7 IS NULL OR event.name = ?7)"
    )
    found = db.execute(
        f"SELECT id FROM event INDEXED BY event_site WHERE event.site = ?1 AND {where} "
        "UNION SELECT event.id FROM mention JOIN event ON event.id = mention.event "
        f"WHERE mention.address = ?1 AND {where} ORDER BY 1 DESC LIMIT ?8",
        (wanted.site, *bounds, study[0] if study else None, first, last, wanted.name, limit),
    )
    yield from (row[0] for row in found)


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
