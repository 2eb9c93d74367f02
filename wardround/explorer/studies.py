"""Questions about studies: the list, one of them, its rounds in pages, its charts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from wardround.explorer.reader import PAGE_ROWS, Reader, check_limit, cursor_key
from wardround.explorer.rounds import round_rows, round_summary
from wardround.explorer.views import (
    Extent,
    Funds,
    Member,
    Object,
    Page,
    Point,
    RoundSummary,
    Seat,
    Study,
    StudySummary,
)
from wardround.protocol.cid import cid_from_sha256

_LAST_ROUND = 1 << 62
_STUDY = (
    "SELECT study.id, study.study, sponsor, rounds, head, ended, funded, paid, refunded, "
    "bonds_posted, bonds_released, slashed, burnt, block.timestamp, block.number, block.hash, "
    "json_extract(specification.document, '$.study.name'), specification.status, "
    "(SELECT count(*) FROM member WHERE member.study = study.id), "
    "(SELECT count(*) FROM event WHERE event.study = study.id AND event.name = 'Overturned'), "
    "(SELECT closed_at FROM closing WHERE closing.study = study.id ORDER BY round DESC LIMIT 1) "
    "FROM study JOIN event ON event.id = study.id JOIN block ON block.number = event.block "
    "LEFT JOIN specification ON specification.study = study.id "
)


def list_studies(reader: Reader, cursor: str | None = None, limit: int = 50) -> Page[StudySummary]:
    """Studies in a page, the newest first.

    Raises:
        QueryInvalid: a cursor or limit that means nothing.
    """
    before = cursor_key(cursor)
    check_limit(limit)
    with reader.look() as db:
        rows = db.execute(
            f"{_STUDY}WHERE study.id < ? ORDER BY study.id DESC LIMIT ?", (before, limit + 1)
        ).fetchall()
        following = str(rows[limit - 1][0]) if len(rows) > limit else None
        return Page([_summary(row) for row in rows[:limit]], following, reader.extent())


def read_study(reader: Reader, study: str) -> Study:
    """All about a study but its rounds.

    Raises:
        NotIndexed: there is none of this id in the index.
    """
    with reader.look() as db:
        row = db.execute(f"{_STUDY}WHERE study.study = ?", (study,)).fetchone()
        if row is None:
            raise reader.missing("study", study)
        summary, names = _summary(row), reader.names()
        state = db.execute(
            "SELECT params, coordinator, opened_at, final_through, hold_round, hold_until, "
            "auditors, seats, coordinators FROM study WHERE id = ?",
            (row[0],),
        ).fetchone()
        params: dict[str, Any] = json.loads(state[0])
        running = summary.state == "open"
        turn = state[2] + params["roundSeconds"] if running and state[2] is not None else None
        return Study(
            summary=summary,
            params=params,
            coordinator=state[1],
            opened_at=state[2],
            turn_until=turn,
            next_takeover=None if turn is None else turn + params["graceSeconds"],
            final_through=state[3],
            hold_round=state[4],
            hold_until=state[5],
            auditors=json.loads(state[6]),
            specification=_specification(db, row[0], params["specification"]),
            seats=_seats(db, row[0], json.loads(state[7]), state[1], names),
            members=members_of(db, row[0], study, names),
            extent=reader.extent(),
        )


def study_rounds(
    reader: Reader, study: str, cursor: str | None = None, limit: int = 50
) -> Page[RoundSummary]:
    """Closings of a study in a page, the newest first, overturned ones too.

    Raises:
        NotIndexed: there is no such study in the index.
        QueryInvalid: a cursor or limit that means nothing.
    """
    before = cursor_key(cursor)
    check_limit(limit)
    with reader.look() as db:
        key = study_key(reader, db, study)
        keys = [
            row[0]
            for row in db.execute(
                "SELECT id FROM closing WHERE study = ? AND id < ? ORDER BY id DESC LIMIT ?",
                (key, before, limit + 1),
            )
        ]
        following = str(keys[limit - 1]) if len(keys) > limit else None
        extent = reader.extent()
        rows = round_rows(db, keys[:limit])
        return Page([round_summary(row, extent) for row in rows], following, extent)


def series(
    reader: Reader, study: str, limit: int = PAGE_ROWS, before: int | None = None
) -> list[Point]:
    """What a study's charts show, one point for each of the last rounds that stand.

    Args:
        reader: the index.
        study: its id.
        limit: how many rounds at most.
        before: only rounds before this one, such as the first of the points one already has.

    Raises:
        NotIndexed: there is no such study in the index.
        QueryInvalid: a limit that means nothing.
    """
    check_limit(limit)
    with reader.look() as db:
        key = study_key(reader, db, study)
        extent = reader.extent()
        keys = [
            row[0]
            for row in db.execute(
                "SELECT id FROM closing WHERE study = ? AND round < ? AND overturned IS NULL "
                "ORDER BY round DESC LIMIT ?",
                (key, _LAST_ROUND if before is None else before, limit),
            )
        ]
        return [_point(db, row, extent) for row in round_rows(db, keys[::-1])]


def members_of(
    db: sqlite3.Connection,
    key: int,
    study: str,
    names: Mapping[str, str],
    only: str | None = None,
) -> list[Member]:
    """The sites of a study, or only one of them, in the order of their addresses."""
    earned = _earned(db, key)
    return [
        Member(*[study, row[0], names.get(row[0]), *row[1:], earned.get(row[0])])
        for row in db.execute(
            "SELECT site, payout, max_weight, since, until, contributions, weight, paid "
            "FROM member WHERE study = ? AND (? IS NULL OR site = ?) ORDER BY site",
            (key, only, only),
        )
    ]


def study_key(reader: Reader, db: sqlite3.Connection, study: str) -> int:
    """The index's own key of a study.

    Raises:
        NotIndexed: there is none of this id in the index.
    """
    row = db.execute("SELECT id FROM study WHERE study = ?", (study,)).fetchone()
    if row is None:
        raise reader.missing("study", study)
    return int(row[0])


def _earned(db: sqlite3.Connection, key: int) -> dict[str, str]:
    """Cumulative rewards by the manifest of the last round that stands."""
    row = db.execute(
        "SELECT manifest.document FROM closing JOIN manifest ON manifest.closing = closing.id "
        "WHERE closing.study = ? AND closing.overturned IS NULL AND manifest.status = 'verified' "
        "ORDER BY closing.round DESC LIMIT 1",
        (key,),
    ).fetchone()
    if row is None:
        return {}
    return {one["site"]: one["amount"] for one in json.loads(row[0])["rewards"]["cumulative"]}


def _summary(row: Sequence[Any]) -> StudySummary:
    rounds, head, ended = row[3], row[4], row[5]
    closed = max(0, head - 1)
    state = "created" if head == 0 else "open"
    if head and closed >= rounds:
        state = "ended" if ended else "over"
    funded, paid, refunded, posted, released, slashed = (int(text) for text in row[6:12])
    return StudySummary(
        study=row[1],
        name=row[16] if row[17] == "verified" else None,
        state=state,
        sponsor=row[2],
        created_at=row[13],
        block=row[14],
        block_hash=row[15],
        rounds=rounds,
        closed=closed,
        head=head,
        sites=row[18],
        overturned=row[19],
        funds=Funds(
            funded=row[6],
            paid=row[7],
            refunded=row[8],
            remaining=str(funded - paid - refunded),
            bonds_posted=row[9],
            bonds_released=row[10],
            slashed=row[11],
            burnt=row[12],
            bonds_held=str(posted - released - slashed),
        ),
        last_closed_at=row[20],
    )


def _specification(db: sqlite3.Connection, key: int, digest: str) -> Object:
    row = db.execute(
        "SELECT cid, status, reason, document FROM specification WHERE study = ?", (key,)
    ).fetchone()
    if row is None:
        cid = cid_from_sha256(bytes.fromhex(digest[2:]))
        return Object(digest, cid, "pending", "", None, None)
    document = None if row[3] is None else json.loads(row[3])
    return Object(digest, row[0], row[1], row[2], None, document)


def _seats(
    db: sqlite3.Connection,
    key: int,
    seats: Mapping[str, Mapping[str, Any]],
    active: str | None,
    names: Mapping[str, str],
) -> list[Seat]:
    closed = dict(
        db.execute(
            "SELECT coordinator, count(*) FROM closing WHERE study = ? AND overturned IS NULL "
            "GROUP BY coordinator",
            (key,),
        ).fetchall()
    )
    found = [
        Seat(
            address,
            names.get(address),
            seat["place"],
            seat["bond"],
            seat["bonded"],
            seat["barred"],
            address == active,
            closed.get(address, 0),
        )
        for address, seat in seats.items()
    ]
    return sorted(found, key=lambda seat: seat.place)


def _point(db: sqlite3.Connection, row: Sequence[Any], extent: Extent) -> Point:
    summary = round_summary(row, extent)
    entries = db.execute(
        "SELECT site, weight, score, reward, report_document FROM entry WHERE closing = ?",
        (row[0],),
    ).fetchall()
    metrics: dict[str, dict[str, float]] = {}
    for site, _, _, _, document in entries:
        for name, value in (json.loads(document)["metrics"] if document else {}).items():
            metrics.setdefault(name, {})[site] = value
    return Point(
        round=summary.round,
        closed_at=summary.closed_at,
        model=summary.model,
        gas=summary.gas,
        weights={site: weight for site, weight, _, _, _ in entries},
        scores={site: score for site, _, score, _, _ in entries if score is not None},
        rewards={site: reward for site, _, _, reward, _ in entries if reward is not None},
        metrics=metrics,
        statement=summary.statement,
    )
