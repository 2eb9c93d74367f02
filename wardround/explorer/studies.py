"""Queries for studies: the list, one of them, its rounds in pages, its charts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from wardround.explorer.reader import PAGE_ROWS, Reader, check_limit, cursor_key
from wardround.explorer.rounds import closing_rows, members_of, stored_object
from wardround.explorer.rows import (
    ChartRow,
    CoordinatorRow,
    Funds,
    Page,
    RoundRow,
    StudyDetail,
    StudyRow,
)

#: Fields of a `ChartRow` that the sites' entries fill.
_Entries = dict[str, dict[str, Any]]
_LAST_ROUND = 1 << 62
#: Contributions that the charts of one page read, at most.
_SAMPLED_ROWS = 2000
#: A study with the columns of a `StudyRow` and its `Funds`, and those that they follow from.
_STUDY = """
SELECT study.*, block.timestamp AS created_at, block.number AS block, block.hash AS block_hash,
    json_extract(specification.document, '$.study.name') AS name, specification.status,
    (SELECT count(*) FROM member WHERE member.study = study.id) AS sites,
    (SELECT count(*) FROM event WHERE event.study = study.id AND event.name = 'Overturned')
        AS overturned,
    (SELECT closed_at FROM closing WHERE closing.study = study.id ORDER BY round DESC LIMIT 1)
        AS last_closed_at,
    coalesce(token.decimals, 0) AS decimals
FROM study JOIN event ON event.id = study.id JOIN block ON block.number = event.block
LEFT JOIN specification ON specification.study = study.id
LEFT JOIN token ON token.address = study.token
"""


def list_studies(reader: Reader, cursor: str | None = None, limit: int = 50) -> Page[StudyRow]:
    """Studies in a page, the newest first.

    Raises:
        QueryInvalid: the cursor or the limit is invalid.
    """
    before = cursor_key(cursor)
    check_limit(limit)
    with reader.look() as db:
        rows = db.execute(
            f"{_STUDY}WHERE study.id < ? ORDER BY study.id DESC LIMIT ?", (before, limit + 1)
        ).fetchall()
        following = str(rows[limit - 1]["id"]) if len(rows) > limit else None
        return Page([_study_row(row) for row in rows[:limit]], following, reader.extent())


def only_study(reader: Reader) -> str | None:
    """The only study there is, as in a run's folder; None where there are several, or none."""
    found = list_studies(reader, limit=2).rows
    return found[0].study if len(found) == 1 else None


def tokens_of_site(reader: Reader, site: str) -> dict[str, tuple[str, int]]:
    """Token and its decimals of each study that a site is or was in, by the study's id."""
    with reader.look() as db:
        rows = db.execute(
            "SELECT study.study, study.token, coalesce(token.decimals, 0) FROM member "
            "JOIN study ON study.id = member.study "
            "LEFT JOIN token ON token.address = study.token WHERE member.site = ?",
            (site,),
        )
        return {study: (token, decimals) for study, token, decimals in rows}


def heads_and_names(reader: Reader, site: str) -> dict[str, tuple[int, str | None]]:
    """Head and name of each study that a site is or was a member of, by the study's id."""
    with reader.look() as db:
        rows = db.execute(
            "SELECT study.study, study.head, iif(specification.status = 'verified', "
            "json_extract(specification.document, '$.study.name'), NULL) FROM member "
            "JOIN study ON study.id = member.study "
            "LEFT JOIN specification ON specification.study = study.id WHERE member.site = ?",
            (site,),
        )
        return {study: (head, name) for study, head, name in rows}


def count_everything(reader: Reader) -> dict[str, int]:
    """Totals over all studies; `paid` and its `decimals` only where all pay in one token."""
    with reader.look() as db:
        counted = db.execute(
            "SELECT (SELECT count(*) FROM study) AS studies, "
            "(SELECT count(DISTINCT site) FROM member) AS sites, "
            "(SELECT count(*) FROM closing) AS rounds, "
            "(SELECT count(*) FROM event WHERE name = 'Overturned') AS overturned"
        ).fetchone()
        tokens = db.execute(
            "SELECT DISTINCT study.token, coalesce(token.decimals, 0) FROM study "
            "LEFT JOIN token ON token.address = study.token"
        ).fetchall()
        if len(tokens) != 1:
            return {**counted}
        paid = sum(int(row[0]) for row in db.execute("SELECT paid FROM study"))
        return {**counted, "paid": paid, "decimals": tokens[0][1]}


def read_study(reader: Reader, study: str) -> StudyDetail:
    """A study without its rounds.

    Raises:
        NotIndexed: there is no study with this id.
    """
    with reader.look() as db:
        row = db.execute(f"{_STUDY}WHERE study.study = ?", (study,)).fetchone()
        if row is None:
            raise reader.missing(f"study {study}")
        summary, names = _study_row(row), reader.names()
        params: dict[str, Any] = json.loads(row["params"])
        running = summary.state == "open" and row["opened_at"] is not None
        turn = row["opened_at"] + params["roundSeconds"] if running else None
        digest = params["specification"]
        return StudyDetail(
            summary=summary,
            params=params,
            coordinator=row["coordinator"],
            opened_at=row["opened_at"],
            turn_until=turn,
            next_takeover=None if turn is None else turn + params["graceSeconds"],
            final_through=row["final_through"],
            hold_round=row["hold_round"],
            hold_until=row["hold_until"],
            auditors=json.loads(row["auditors"]),
            specification=stored_object(db, "specification", row["id"], digest),
            seats=_coordinators(db, row, names),
            members=members_of(db, row["id"], study, names),
            extent=reader.extent(),
        )


def study_rounds(
    reader: Reader, study: str, cursor: str | None = None, limit: int = 50
) -> Page[RoundRow]:
    """Closings of a study in a page, the newest first, with overturned ones.

    Raises:
        NotIndexed: there is no study with this id.
        QueryInvalid: the cursor or the limit is invalid.
    """
    before = cursor_key(cursor)
    check_limit(limit)
    with reader.look() as db:
        keys = _keys(
            db,
            "SELECT id FROM closing WHERE study = ? AND id < ? ORDER BY id DESC LIMIT ?",
            (reader.study_key(study), before, limit + 1),
        )
        following = str(keys[limit - 1]) if len(keys) > limit else None
        extent = reader.extent()
        return Page(closing_rows(db, keys[:limit], extent), following, extent)


def valid_rounds(reader: Reader, study: str, limit: int) -> list[RoundRow]:
    """The last rounds of a study that were not overturned, the newest first."""
    with reader.look() as db:
        keys = _valid_keys(db, reader.study_key(study), _LAST_ROUND, limit)
        return closing_rows(db, keys, reader.extent())


def series(
    reader: Reader, study: str, limit: int = PAGE_ROWS, before: int | None = None
) -> list[ChartRow]:
    """Rows of a study's charts: its last rounds that were not overturned, oldest first.

    Args:
        reader: the index.
        study: its id.
        limit: how many rounds at most.
        before: only rounds before this one, such as the first of an earlier answer.

    Raises:
        NotIndexed: there is no study with this id.
        QueryInvalid: the limit is out of range.
    """
    check_limit(limit)
    with reader.look() as db:
        last = _LAST_ROUND if before is None else before
        keys = _valid_keys(db, reader.study_key(study), last, limit)
        return _chart_rows(reader, db, {key: _entries(db, key) for key in keys[::-1]})


def sampled_series(reader: Reader, study: str, sites: int, rounds_max: int = 60) -> list[ChartRow]:
    """Rows of a study's charts, of evenly spread rounds with the last one among them.

    Args:
        reader: the index.
        study: its id.
        sites: how many members it has: what is read of each round grows with them.
        rounds_max: how many rounds at most.
    """
    with reader.look() as db:
        rounds = db.execute(
            "SELECT closing.id, round, manifest.id FROM closing "
            "LEFT JOIN manifest ON manifest.closing = closing.id "
            "WHERE study = ? AND overturned IS NULL ORDER BY round",
            (reader.study_key(study),),
        ).fetchall()
        kept = max(2, min(rounds_max, _SAMPLED_ROWS // max(1, sites)))
        step = max(1, -(-len(rounds) // kept))
        # Multiples of the step, so that a new round leaves the others in place.
        chosen = [row for row in rounds if row[1] % step == 0 or row is rounds[-1]]
        before = _sampled(reader, study)
        entries = {key: before.get(manifest) or _entries(db, key) for key, _, manifest in chosen}
        before.clear()
        before.update((row[2], entries[row[0]]) for row in chosen if row[2] is not None)
        return _chart_rows(reader, db, entries)


@lru_cache(maxsize=8)
def _sampled(reader: Reader, study: str) -> dict[int, _Entries]:
    """What the last sample read, by the manifest's key: a manifest read again gets another key.

    Most of a study page's time is the reports of its sites, which a new round leaves as they are.
    """
    return {}


def _keys(db: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[int]:
    return [row[0] for row in db.execute(query, values)]


def _valid_keys(db: sqlite3.Connection, study: int, before: int, limit: int) -> list[int]:
    return _keys(
        db,
        "SELECT id FROM closing WHERE study = ? AND round < ? AND overturned IS NULL "
        "ORDER BY round DESC LIMIT ?",
        (study, before, limit),
    )


def _study_row(row: sqlite3.Row) -> StudyRow:
    rounds, head = row["rounds"], row["head"]
    closed = max(0, head - 1)
    state = "created" if head == 0 else "open"
    if head and closed >= rounds:
        state = "ended" if row["ended"] else "over"
    into = ("funded", "bonds_posted", "deposits")
    out = ("paid", "fees", "refunded", "bonds_released", "collected")
    stored = (*into, *out, "slashed", "burnt")
    amounts = {name: int(row[name]) for name in stored}
    remaining = sum(amounts[name] for name in into) - sum(amounts[name] for name in out)
    held = amounts["bonds_posted"] - amounts["bonds_released"] - amounts["slashed"]
    kept = ("study", "sponsor", "created_at", "block", "block_hash", "sites", "overturned", "token")
    return StudyRow(
        **{name: row[name] for name in (*kept, "rounds", "head", "decimals", "last_closed_at")},
        name=row["name"] if row["status"] == "verified" else None,
        state=state,
        closed=closed,
        funds=Funds(
            **{name: row[name] for name in stored}, remaining=str(remaining), bonds_held=str(held)
        ),
    )


def _coordinators(
    db: sqlite3.Connection, study: sqlite3.Row, names: Mapping[str, str]
) -> list[CoordinatorRow]:
    closed = dict(
        db.execute(
            "SELECT coordinator, count(*) FROM closing WHERE study = ? AND overturned IS NULL "
            "GROUP BY coordinator",
            (study["id"],),
        ).fetchall()
    )
    found = [
        CoordinatorRow(
            address=address,
            name=names.get(address),
            active=address == study["coordinator"],
            rounds_closed=closed.get(address, 0),
            **seat,
        )
        for address, seat in json.loads(study["seats"]).items()
    ]
    return sorted(found, key=lambda one: one.place)


def _chart_rows(
    reader: Reader, db: sqlite3.Connection, entries: Mapping[int, _Entries]
) -> list[ChartRow]:
    closings = closing_rows(db, list(entries), reader.extent())
    return [
        ChartRow(
            round=one.round,
            closed_at=one.closed_at,
            model=one.model,
            gas=one.gas,
            statement=one.statement,
            **entries[key],
        )
        for key, one in zip(entries, closings, strict=True)
    ]


def _entries(db: sqlite3.Connection, key: int) -> _Entries:
    entries = db.execute(
        "SELECT site, weight, share, json_extract(report_document, '$.metrics') AS metrics "
        "FROM entry WHERE closing = ?",
        (key,),
    ).fetchall()
    metrics: dict[str, dict[str, float]] = {}
    for one in entries:
        for name, value in (json.loads(one["metrics"]) if one["metrics"] else {}).items():
            metrics.setdefault(name, {})[one["site"]] = value
    return {
        "weights": {one["site"]: one["weight"] for one in entries},
        "rewards": {one["site"]: one["share"] for one in entries if one["share"] is not None},
        "metrics": metrics,
    }
