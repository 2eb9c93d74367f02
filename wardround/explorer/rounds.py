"""Queries for rounds: a closing with everything that belongs to it, and the open round."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.reader import PAGE_ROWS, Reader
from wardround.explorer.rows import (
    ContributionRow,
    DroppedRow,
    EventRow,
    Extent,
    MemberRow,
    OpenRoundDetail,
    RoundDetail,
    RoundRow,
    StoredObject,
)
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.record import ScoringId
from wardround.protocol.rewards import share_floor

#: A closing with the columns of a `RoundRow`, and those that its state follows from.
_CLOSING = """
SELECT closing.id AS key, study.study, closing.round, closing.commitment, closing.coordinator,
    closing.closed_at, closing.count AS contributors, closing.total_weight, closing.model,
    coalesce(manifest.status, 'pending') AS manifest,
    (SELECT count(*) FROM dropped WHERE dropped.closing = closing.id) AS dropped,
    json_extract(study.params, '$.rewardPerRound') AS reward,
    block.number AS block, block.hash AS block_hash, tx.hash AS "transaction", tx.gas_used AS gas,
    voiding.hash AS overturned_by, statement.document AS statement, closing.overturned,
    json_extract(study.params, '$.challengeSeconds') AS challenge_seconds, study.final_through,
    study.hold_round, study.hold_until, study.id AS study_key, closing.contributions,
    closing.manifest AS manifest_digest, closing.commitments, closing.entries_tx
FROM closing JOIN study ON study.id = closing.study JOIN event ON event.id = closing.id
JOIN block ON block.number = event.block JOIN tx ON tx.id = event.tx
LEFT JOIN manifest ON manifest.closing = closing.id
LEFT JOIN statement ON statement.study = study.study AND statement.round = closing.round
LEFT JOIN event AS overturning ON overturning.id = closing.overturned
LEFT JOIN tx AS voiding ON voiding.id = overturning.tx
"""
_DERIVED = ("state", "challenge_until", "statement")
_STORED = tuple(one.name for one in fields(RoundRow) if one.name not in _DERIVED)


def closing_rows(db: sqlite3.Connection, keys: Sequence[int], extent: Extent) -> list[RoundRow]:
    """Closings by their keys, in the same order.

    A page first finds which closings it shows, by an index alone: joining all that belongs to every
    closing of a study before most are left out takes a second at 10,000 rounds.
    """
    marks = ", ".join("?" * len(keys))
    found = {
        row["key"]: row
        for row in db.execute(f"{_CLOSING}WHERE closing.id IN ({marks})", list(keys))
    }
    return [_round_row(found[key], extent) for key in keys]


def read_round(
    reader: Reader, study: str, number: int, commitment: str | None = None
) -> RoundDetail:
    """A closed round: its valid closing, or the last one that was overturned.

    Args:
        reader: the index.
        study: its id.
        number: from 1.
        commitment: of another closing of the same round.

    Raises:
        NotIndexed: it is not closed, or there is no study with this id.
    """
    with reader.look() as db:
        extent = reader.extent()
        rows = db.execute(
            f"{_CLOSING}WHERE study.study = ? AND closing.round = ? ORDER BY closing.id DESC",
            (study, number),
        ).fetchall()
        chosen = [row for row in rows if commitment in (None, row["commitment"])]
        if not chosen:
            raise reader.missing(f"closing of round {number} of study {study}")
        row = chosen[0]
        key, study_key = row["key"], row["study_key"]
        names = reader.names()
        contributions = _contributions(db, row, names)
        dropped = [
            DroppedRow(site, names.get(site), reason, evidence)
            for site, reason, evidence in db.execute(
                "SELECT site, reason, evidence FROM dropped WHERE closing = ? ORDER BY site", (key,)
            )
        ]
        previous = db.execute(
            f"{_CLOSING}WHERE closing.study = ? AND closing.round = ? AND closing.id < ? "
            "ORDER BY closing.id DESC LIMIT 1",
            (study_key, number - 1, key),
        ).fetchone()
        opened_at = _opened_at(db, study_key, key)
        seconds, raw = db.execute(
            "SELECT json_extract(params, '$.roundSeconds'), (SELECT raw FROM tx WHERE hash = ?) "
            "FROM study WHERE id = ?",
            (row["transaction"], study_key),
        ).fetchone()
        (entries_transaction,) = db.execute(
            "SELECT hash FROM tx WHERE id = ?", (row["entries_tx"],)
        ).fetchone()
        seen = {one.site for one in contributions} | {one.site for one in dropped}
        return RoundDetail(
            summary=_round_row(row, extent),
            record={
                "contributions": row["contributions"],
                "model": row["model"],
                "manifest": row["manifest_digest"],
                "commitments": row["commitments"],
                "count": row["contributors"],
                "totalWeight": row["total_weight"],
            },
            previous=None if previous is None else _round_row(previous, extent),
            opened_at=opened_at,
            deadline=None if opened_at is None else opened_at + seconds,
            manifest=stored_object(db, "manifest", key, row["manifest_digest"]),
            entries=contributions,
            dropped=dropped,
            missed=[
                one
                for one in members_of(db, study_key, study, names)
                if _is_member(one, number) and one.site not in seen
            ],
            others=[_round_row(one, extent) for one in rows if one["key"] != key],
            events=_events(reader, study, number),
            raw=None if raw is None else "0x" + raw.hex(),
            entries_transaction=entries_transaction,
            extent=extent,
        )


def read_open_round(reader: Reader, study: str) -> OpenRoundDetail:
    """The open round of a study.

    Raises:
        NotIndexed: there is no study with this id, it is not open yet, or it is over.
    """
    with reader.look() as db:
        row = db.execute("SELECT * FROM study WHERE study = ?", (study,)).fetchone()
        if row is None or not 0 < row["head"] <= row["rounds"]:
            raise reader.missing(f"open round of study {study}")
        number, params = row["head"], json.loads(row["params"])
        before = db.execute(
            "SELECT model FROM closing WHERE study = ? AND round = ? AND overturned IS NULL",
            (row["id"], number - 1),
        ).fetchone()
        deadline = row["opened_at"] + params["roundSeconds"]
        return OpenRoundDetail(
            study=study,
            round=number,
            coordinator=row["coordinator"],
            opened_at=row["opened_at"],
            deadline=deadline,
            takeover_at=deadline + params["graceSeconds"],
            base_model=params["initialModel"] if before is None else before["model"],
            members=[
                one
                for one in members_of(db, row["id"], study, reader.names())
                if _is_member(one, number)
            ],
            events=_events(reader, study, number),
            extent=reader.extent(),
        )


def overturned_in(reader: Reader, study: str, number: int, commitment: str) -> str | None:
    """Hash of the block of a closing, where that closing was overturned."""
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


def members_of(
    db: sqlite3.Connection,
    key: int,
    study: str,
    names: Mapping[str, str],
    only: str | None = None,
) -> list[MemberRow]:
    """The sites of a study, or only one of them, in the order of their addresses."""
    return [
        MemberRow(*[study, row[0], names.get(row[0]), *row[1:]])
        for row in db.execute(
            "SELECT member.site, payout, max_weight, since, until, contributions, weight, paid, "
            "earned.amount FROM member LEFT JOIN earned ON earned.study = member.study "
            "AND earned.site = member.site WHERE member.study = ? "
            "AND (? IS NULL OR member.site = ?) ORDER BY member.site",
            (key, only, only),
        )
    ]


def stored_object(db: sqlite3.Connection, table: str, key: int, digest: str) -> StoredObject:
    """A closing's manifest or a study's specification; `pending` until it was looked at."""
    query = {
        "manifest": "SELECT cid, status, reason, bytes, document FROM manifest WHERE closing = ?",
        "specification": "SELECT cid, status, reason, NULL, document FROM specification "
        "WHERE study = ?",
    }[table]
    row = db.execute(query, (key,)).fetchone()
    if row is None:
        cid = cid_from_sha256(bytes.fromhex(digest[2:]))
        return StoredObject(digest, cid, "pending", "", None, None)
    document = None if row[4] is None else json.loads(row[4])
    return StoredObject(*[digest, *row[:4], document])


def _is_member(one: MemberRow, number: int) -> bool:
    return one.since <= number and (one.until is None or number < one.until)


def _round_row(row: sqlite3.Row, extent: Extent) -> RoundRow:
    """Read a row of `_CLOSING`; its state is that at the last indexed block."""
    until = row["closed_at"] + row["challenge_seconds"]
    if row["hold_round"] and row["round"] >= row["hold_round"]:
        until = max(until, row["hold_until"])
    final = row["round"] <= row["final_through"] or extent.last_timestamp >= until
    state = "final" if final else "closed"
    statement = row["statement"]
    return RoundRow(
        **{name: row[name] for name in _STORED},
        state="overturned" if row["overturned"] is not None else state,
        challenge_until=until,
        statement=None if statement is None else json.loads(statement),
    )


def _events(reader: Reader, study: str, number: int) -> list[EventRow]:
    chosen = EventFilter(study=study, round=number)
    return list_events(reader, chosen, limit=PAGE_ROWS, newest_first=False).rows


def _contributions(
    db: sqlite3.Connection, closing: sqlite3.Row, names: Mapping[str, str]
) -> list[ContributionRow]:
    on_chain = {
        row["site"]: row
        for row in db.execute(
            'SELECT event.site, event.weight, event.root AS "update" '
            "FROM event WHERE event.study = ? AND event.round = ? "
            "AND event.name = 'Contributed' AND event.tx = ?",
            (closing["study_key"], closing["round"], closing["entries_tx"]),
        )
    }
    listed = {
        row["site"]: row
        for row in db.execute(
            'SELECT site, weight, update_root AS "update", update_cid, signature, '
            "signature_valid, report_cid, report_status, "
            "report_document AS report, share AS reward FROM entry WHERE closing = ?",
            (closing["key"],),
        )
    }
    found = []
    for site in sorted(on_chain | listed):
        values: dict[str, Any] = dict.fromkeys(one.name for one in fields(ContributionRow))
        values |= dict((on_chain | listed)[site])
        if values["report"] is not None:
            values["report"] = json.loads(values["report"])
        if site in listed:
            values["signature_valid"] = bool(values["signature_valid"])
        values |= {"name": names.get(site), "on_chain": site in on_chain}
        if site not in listed:
            of_round = (closing["study"], closing["reward"], values["weight"])
            values["reward"] = share_by_weight(db, *of_round, closing["total_weight"])
        found.append(ContributionRow(**values))
    return found


def share_by_weight(
    db: sqlite3.Connection, study: str, reward: str, weight: int, total_weight: int
) -> str | None:
    """Share of a round's reward where no manifest tells it; None where scores are paid."""
    (scoring,) = db.execute(
        "SELECT json_extract(params, '$.scoring') FROM study WHERE study = ?", (study,)
    ).fetchone()
    if scoring != ScoringId.EXAMPLES:
        return None
    return str(share_floor(int(reward), weight, total_weight))


def _opened_at(db: sqlite3.Connection, study: int, closing: int) -> int | None:
    """When the coordinator's turn began: at the last event before the closing that begins one."""
    found = db.execute(
        "SELECT args FROM event WHERE study = ? AND id < ? AND name IN "
        "('StudyOpened', 'RoundClosed', 'TookOver', 'Overturned') ORDER BY id DESC LIMIT 1",
        (study, closing),
    ).fetchone()
    if found is None:
        return None
    args = json.loads(found[0])
    return int(args.get("openedAt", args.get("closedAt")))
