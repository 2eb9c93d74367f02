"""Finds anything by its name: an address, hash, root, CID, round, block, or part of a name."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

from wardround.explorer.reader import Reader
from wardround.explorer.rows import Hit
from wardround.protocol.cid import sha256_of_cid
from wardround.protocol.errors import Malformed

#: Hits of one search, at most.
HITS = 50
#: Longer text is the name of nothing.
LONGEST = 200

_HEX = re.compile(r"0x[0-9a-f]{1,64}")
_ROUND = re.compile(r"(?:round|r)?\s*#?\s*([0-9]{1,10})")
_CID = re.compile(r"b[a-z2-7]{20,120}")

#: Columns of a closing that hold 32 bytes.
_ROOTS = ("commitment", "model", "manifest", "contributions", "rewards")


def search(reader: Reader, text: str) -> list[Hit]:
    """Search everything in the index.

    Args:
        reader: the index.
        text: as a person types it: hexadecimal in any letter case, a beginning of at least six
            digits, a CID, a number, or part of a study's or site's name.

    Returns:
        At most `HITS`, likely ones first; empty when the indexed blocks have nothing.
    """
    wanted = text.strip()[:LONGEST]
    if not wanted:
        return []
    with reader.look() as db:
        hits: dict[Hit, None] = {}
        for hit in _hits(db, wanted):
            hits.setdefault(hit)
            if len(hits) >= HITS:
                break
        return list(hits)


def _hits(db: sqlite3.Connection, wanted: str) -> Iterator[Hit]:
    lower = wanted.lower()
    if _HEX.fullmatch(lower):
        if len(lower) == 42:
            yield from _address(db, lower)
        elif len(lower) == 66:
            yield from _hash(db, lower)
        elif len(lower) >= 8:
            yield from _beginning(db, lower)
        return
    if _CID.fullmatch(wanted):
        yield from _cid(db, wanted)
    number = _ROUND.fullmatch(lower)
    if number:
        yield from _number(db, int(number.group(1)))
    yield from _name(db, wanted)


def _address(db: sqlite3.Connection, address: str) -> Iterator[Hit]:
    name = db.execute("SELECT name FROM label WHERE address = ?", (address,)).fetchone()
    called = f" {name[0]}" if name else ""
    (studies,) = db.execute("SELECT count(*) FROM member WHERE site = ?", (address,)).fetchone()
    if studies:
        yield Hit("site", f"Site{called} in {studies} studies", address=address)
    for (study,) in db.execute("SELECT study FROM study WHERE sponsor = ? LIMIT 10", (address,)):
        yield Hit("study", "Study of this sponsor", study=study)
    (payouts,) = db.execute("SELECT count(*) FROM member WHERE payout = ?", (address,)).fetchone()
    named = db.execute("SELECT 1 FROM mention WHERE address = ? LIMIT 1", (address,)).fetchone()
    if named or payouts:
        yield Hit("address", f"Address{called} in the events", address=address)
    sent = db.execute(
        "SELECT hash, block FROM tx WHERE sender = ? ORDER BY id DESC LIMIT 5", (address,)
    )
    for transaction, block in sent:
        yield Hit("transaction", "Transaction it sent", transaction=transaction, block=block)


def _hash(db: sqlite3.Connection, value: str) -> Iterator[Hit]:
    if db.execute("SELECT 1 FROM study WHERE study = ?", (value,)).fetchone():
        yield Hit("study", "Study", study=value)
    row = db.execute("SELECT block FROM tx WHERE hash = ?", (value,)).fetchone()
    if row:
        yield Hit("transaction", f"Transaction in block {row[0]}", transaction=value, block=row[0])
    row = db.execute("SELECT number FROM block WHERE hash = ?", (value,)).fetchone()
    if row:
        yield Hit("block", f"Block {row[0]}", block=row[0])
    for column in _ROOTS:
        yield from _closings(db, f"closing.{column} = ?", (value,), column)
    yield from _entries(db, "entry.update_root = ?", value, "update")
    yield from _entries(db, "entry.report = ?", value, "report")
    yield from _events(db, "event.root = ?", value, "update")
    yield from _events(db, "event.reference = ?", value, "demand")
    for field, kind in (("initialModel", "model"), ("specification", "specification")):
        for (study,) in db.execute(
            f"SELECT study FROM study WHERE json_extract(params, '$.{field}') = ? LIMIT 10",
            (value,),
        ):
            yield Hit(kind, "Initial model" if kind == "model" else "Specification", study=study)


def _beginning(db: sqlite3.Connection, value: str) -> Iterator[Hit]:
    """What begins with these digits; a range, so that the index on the column is used."""
    bounds = (value, value + "g")
    for (study,) in db.execute(
        "SELECT study FROM study WHERE study >= ? AND study < ? LIMIT 10", bounds
    ):
        yield Hit("study", "Study", study=study)
    for (site,) in db.execute(
        "SELECT DISTINCT site FROM member WHERE site >= ? AND site < ? LIMIT 10", bounds
    ):
        yield Hit("site", "Site", address=site)
    for transaction, block in db.execute(
        "SELECT hash, block FROM tx WHERE hash >= ? AND hash < ? LIMIT 10", bounds
    ):
        title = f"Transaction in block {block}"
        yield Hit("transaction", title, transaction=transaction, block=block)
    for (number,) in db.execute(
        "SELECT number FROM block WHERE hash >= ? AND hash < ? LIMIT 10", bounds
    ):
        yield Hit("block", f"Block {number}", block=number)
    for column in ("model", "commitment", "manifest"):
        condition = f"closing.{column} >= ? AND closing.{column} < ?"
        yield from _closings(db, condition, bounds, column)


def _cid(db: sqlite3.Connection, cid: str) -> Iterator[Hit]:
    try:
        digest = "0x" + sha256_of_cid(cid).hex()
    except Malformed:
        return
    for hit in _closings(db, "closing.manifest = ?", (digest,), "manifest"):
        yield replace(hit, cid=cid)
    for condition, kind in (("entry.update_cid = ?", "update"), ("entry.report_cid = ?", "report")):
        for hit in _entries(db, condition, cid, kind):
            yield replace(hit, cid=cid)
    for (study,) in db.execute(
        "SELECT study FROM study WHERE json_extract(params, '$.specification') = ? LIMIT 10",
        (digest,),
    ):
        yield Hit("specification", "Specification", study=study, cid=cid)


def _number(db: sqlite3.Connection, number: int) -> Iterator[Hit]:
    rows = db.execute(
        "SELECT study.study, json_extract(specification.document, '$.study.name') FROM study "
        "JOIN closing ON closing.study = study.id AND closing.round = ? "
        "LEFT JOIN specification ON specification.study = study.id "
        "GROUP BY study.id ORDER BY study.id DESC LIMIT 20",
        (number,),
    )
    for study, name in rows:
        yield Hit("round", f"Round {number} of {name or study[:10]}", study, number)
    if db.execute("SELECT 1 FROM block WHERE number = ?", (number,)).fetchone():
        yield Hit("block", f"Block {number}", block=number)


def _name(db: sqlite3.Connection, text: str) -> Iterator[Hit]:
    like = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    for address, name in db.execute(
        "SELECT address, name FROM label WHERE name LIKE ? ESCAPE '\\' ORDER BY name LIMIT 20",
        (like,),
    ):
        yield Hit("site", f"Site {name}", address=address)
    for study, name in db.execute(
        "SELECT study.study, json_extract(document, '$.study.name') FROM specification "
        "JOIN study ON study.id = specification.study WHERE specification.status = 'verified' "
        "AND json_extract(document, '$.study.name') LIKE ? ESCAPE '\\' LIMIT 20",
        (like,),
    ):
        yield Hit("study", f"Study {name}", study=study)


def _closings(
    db: sqlite3.Connection, condition: str, values: tuple[str, ...], kind: str
) -> Iterator[Hit]:
    rows = db.execute(
        "SELECT study.study, round, commitment FROM closing "
        f"JOIN study ON study.id = closing.study WHERE {condition} LIMIT 10",
        values,
    )
    for study, number, commitment in rows:
        yield Hit(kind, f"{kind.capitalize()} of round {number}", study, number, commitment)


def _entries(db: sqlite3.Connection, condition: str, value: str, kind: str) -> Iterator[Hit]:
    rows = db.execute(
        "SELECT study.study, round, commitment, entry.site FROM entry "
        "JOIN closing ON closing.id = entry.closing JOIN study ON study.id = closing.study "
        f"WHERE {condition} LIMIT 10",
        (value,),
    )
    for study, number, commitment, site in rows:
        title = f"{kind.capitalize()} of a site in round {number}"
        yield Hit(kind, title, study, number, commitment, site)


def _events(db: sqlite3.Connection, condition: str, value: str, kind: str) -> Iterator[Hit]:
    rows = db.execute(
        "SELECT DISTINCT study.study, event.round, event.site FROM event "
        f"JOIN study ON study.id = event.study WHERE {condition} LIMIT 10",
        (value,),
    )
    for study, number, site in rows:
        title = f"{kind.capitalize()} in round {number}"
        yield Hit(kind, title, study, number, None, site)
