"""Questions about a round: one of its closings with everything that belongs to it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from wardround.explorer.errors import NotIndexed
from wardround.explorer.reader import PAGE_ROWS, EventFilter, Reader
from wardround.explorer.views import (
    Dropped,
    Entry,
    EventRow,
    Extent,
    Member,
    Object,
    OpenRound,
    Round,
    RoundSummary,
)
from wardround.protocol.cid import cid_from_sha256

#: A closing with all that `round_summary` takes.
CLOSING = (
    "SELECT closing.id, study.study, closing.round, closing.commitment, closing.overturned, "
    "closing.coordinator, closing.closed_at, closing.count, closing.total_weight, closing.model, "
    "closing.reward_total, block.number, block.hash, tx.hash, tx.gas_used, manifest.status, "
    "(SELECT count(*) FROM dropped WHERE dropped.closing = closing.id), "
    "json_extract(study.params, '$.challengeSeconds'), study.final_through, study.hold_round, "
    "study.hold_until, (SELECT reward_total FROM closing AS before "
    "WHERE before.study = closing.study AND before.round = closing.round - 1 "
    "AND before.id < closing.id ORDER BY before.id DESC LIMIT 1), statement.document, "
    "voiding.hash, closing.contributions, closing.manifest, closing.rewards, closing.study "
    "FROM closing JOIN study ON study.id = closing.study JOIN event ON event.id = closing.id "
    "JOIN block ON block.number = event.block JOIN tx ON tx.id = event.tx "
    "LEFT JOIN manifest ON manifest.closing = closing.id "
    "LEFT JOIN statement ON statement.study = study.study AND statement.round = closing.round "
    "LEFT JOIN event AS overturning ON overturning.id = closing.overturned "
    "LEFT JOIN tx AS voiding ON voiding.id = overturning.tx "
)


def round_summary(row: Sequence[Any], extent: Extent) -> RoundSummary:
    """Read a row of `CLOSING`, as it stands at the time of the last indexed block."""
    overturned, number, closed_at = row[4], row[2], row[6]
    until = closed_at + row[17]
    if row[19] and number >= row[19]:
        until = max(until, row[20])
    final = number <= row[18] or extent.last_timestamp >= until
    state = "overturned" if overturned is not None else "final" if final else "closed"
    reward = int(row[10]) - int(row[21] or "0")
    return RoundSummary(
        study=row[1],
        round=number,
        commitment=row[3],
        state=state,
        coordinator=row[5],
        closed_at=closed_at,
        challenge_until=until,
        contributors=row[7],
        total_weight=row[8],
        model=row[9],
        manifest=row[15] or "pending",
        dropped=row[16],
        reward_total=row[10],
        reward=str(reward),
        block=row[11],
        block_hash=row[12],
        transaction=row[13],
        gas=row[14],
        overturned_by=row[23],
        statement=None if row[22] is None else json.loads(row[22]),
    )


def round_rows(db: sqlite3.Connection, keys: Sequence[int]) -> list[Sequence[Any]]:
    """Rows of `CLOSING` by the closings' keys, in the order of these.

    A page first finds which closings it shows, by an index alone: to join all that belongs to
    every closing of a study before most are left out takes a second at 10,000 rounds.
    """
    marks = ", ".join("?" * len(keys))
    found = {
        row[0]: row for row in db.execute(f"{CLOSING}WHERE closing.id IN ({marks})", list(keys))
    }
    return [found[key] for key in keys]


def read_round(reader: Reader, study: str, number: int, commitment: str | None = None) -> Round:
    """A round that was closed; the closing that stands, or else the last one.

    Args:
        reader: the index.
        study: its id.
        number: from 1.
        commitment: of another closing of the same round.

    Raises:
        NotIndexed: it was not closed in the indexed blocks, or there is no such study.
    """
    with reader.look() as db:
        extent = reader.extent()
        rows = db.execute(
            f"{CLOSING}WHERE study.study = ? AND closing.round = ? ORDER BY closing.id DESC",
            (study, number),
        ).fetchall()
        chosen = [row for row in rows if commitment in (None, row[3])]
        if not chosen:
            what = f"closing of round {number} of study"
            raise NotIndexed(what, study, extent.first_block, extent.last_block)
        row = chosen[0]
        summary = round_summary(row, extent)
        names = reader.names()
        manifest = _manifest(db, row[0], row[25])
        entries = _entries(db, row, names)
        dropped = [
            Dropped(site, names.get(site), reason, evidence)
            for site, reason, evidence in db.execute(
                "SELECT site, reason, evidence FROM dropped WHERE closing = ? ORDER BY site",
                (row[0],),
            )
        ]
        previous = db.execute(
            f"{CLOSING}WHERE closing.study = ? AND closing.round = ? AND closing.id < ? "
            "ORDER BY closing.id DESC LIMIT 1",
            (row[27], number - 1, row[0]),
        ).fetchone()
        opened_at = _opened_at(db, row)
        (seconds,) = db.execute(
            "SELECT json_extract(params, '$.roundSeconds') FROM study WHERE id = ?", (row[27],)
        ).fetchone()
        (raw,) = db.execute("SELECT raw FROM tx WHERE hash = ?", (summary.transaction,)).fetchone()
        seen = {entry.site for entry in entries} | {one.site for one in dropped}
        return Round(
            summary=summary,
            record={
                "contributions": row[24],
                "model": row[9],
                "manifest": row[25],
                "rewards": row[26],
                "count": row[7],
                "totalWeight": row[8],
                "rewardTotal": row[10],
            },
            previous=None if previous is None else round_summary(previous, extent),
            opened_at=opened_at,
            deadline=None if opened_at is None else opened_at + seconds,
            manifest=manifest,
            entries=entries,
            dropped=dropped,
            missed=[one for one in _members(db, row, names) if one.site not in seen],
            others=[round_summary(one, extent) for one in rows if one[0] != row[0]],
            events=_events(reader, study, number),
            raw=None if raw is None else "0x" + raw.hex(),
            extent=extent,
        )


def read_open_round(reader: Reader, study: str) -> OpenRound:
    """The round being worked on.

    Raises:
        NotIndexed: there is no such study, it is not open yet, or it is over.
    """
    from wardround.explorer.studies import members_of

    with reader.look() as db:
        row = db.execute(
            "SELECT id, head, coordinator, opened_at, rounds, params FROM study WHERE study = ?",
            (study,),
        ).fetchone()
        if row is None or not 0 < row[1] <= row[4]:
            raise reader.missing("open round of study", study)
        params = json.loads(row[5])
        before = db.execute(
            "SELECT model FROM closing WHERE study = ? AND round = ? AND overturned IS NULL",
            (row[0], row[1] - 1),
        ).fetchone()
        deadline = row[3] + params["roundSeconds"]
        return OpenRound(
            study=study,
            round=row[1],
            coordinator=row[2],
            opened_at=row[3],
            deadline=deadline,
            takeover_at=deadline + params["graceSeconds"],
            base_model=params["initialModel"] if before is None else before[0],
            members=[
                one
                for one in members_of(db, row[0], study, reader.names())
                if one.since <= row[1] and (one.until is None or row[1] < one.until)
            ],
            events=_events(reader, study, row[1]),
            extent=reader.extent(),
        )


def _events(reader: Reader, study: str, number: int) -> list[EventRow]:
    chosen = EventFilter(study=study, round=number)
    return reader.events(chosen, limit=PAGE_ROWS, newest_first=False).rows


def _manifest(db: sqlite3.Connection, key: int, digest: str) -> Object:
    row = db.execute(
        "SELECT cid, status, reason, bytes, document FROM manifest WHERE closing = ?", (key,)
    ).fetchone()
    if row is None:
        cid = cid_from_sha256(bytes.fromhex(digest[2:]))
        return Object(digest, cid, "pending", "", None, None)
    document = None if row[4] is None else json.loads(row[4])
    return Object(digest, row[0], row[1], row[2], row[3], document)


def _entries(db: sqlite3.Connection, row: Sequence[Any], names: Mapping[str, str]) -> list[Entry]:
    on_chain = {
        site: (weight, root)
        for site, weight, root in db.execute(
            "SELECT event.site, event.weight, event.root FROM event JOIN tx ON tx.id = event.tx "
            "WHERE event.study = ? AND event.round = ? AND event.name = 'Contributed' "
            "AND tx.hash = ?",
            (row[27], row[2], row[13]),
        )
    }
    listed = {
        found[0]: found[1:]
        for found in db.execute(
            "SELECT site, weight, update_root, update_cid, signature, signature_valid, score, "
            "reward, cumulative, report_cid, report_status, report_document "
            "FROM entry WHERE closing = ?",
            (row[0],),
        )
    }
    entries = []
    for site in sorted(on_chain | listed):
        if site not in listed:
            weight, root = on_chain[site]
            entries.append(
                Entry(*[site, names.get(site), weight, root, *[None] * 6, True, *[None] * 3])
            )
            continue
        weight, root, cid, signature, valid, score, reward, total, report, status, text = listed[
            site
        ]
        entries.append(
            Entry(
                site=site,
                name=names.get(site),
                weight=weight,
                update=root,
                update_cid=cid,
                signature=signature,
                signature_valid=bool(valid),
                score=score,
                reward=reward,
                cumulative=total,
                on_chain=site in on_chain,
                report_cid=report,
                report_status=status,
                report=None if text is None else json.loads(text),
            )
        )
    return entries


def _members(db: sqlite3.Connection, row: Sequence[Any], names: Mapping[str, str]) -> list[Member]:
    number = row[2]
    return [
        Member(*[row[1], found[0], names.get(found[0]), *found[1:], None])
        for found in db.execute(
            "SELECT site, payout, max_weight, since, until, contributions, weight, paid "
            "FROM member WHERE study = ? AND since <= ? AND (until IS NULL OR ? < until) "
            "ORDER BY site",
            (row[27], number, number),
        )
    ]


def _opened_at(db: sqlite3.Connection, row: Sequence[Any]) -> int | None:
    """When the turn began that the round was closed in: the last event before that began one."""
    found = db.execute(
        "SELECT args FROM event WHERE study = ? AND id < ? AND name IN "
        "('StudyOpened', 'RoundClosed', 'TookOver', 'Overturned') ORDER BY id DESC LIMIT 1",
        (row[27], row[0]),
    ).fetchone()
    if found is None:
        return None
    args = json.loads(found[0])
    return int(args.get("openedAt", args.get("closedAt")))
