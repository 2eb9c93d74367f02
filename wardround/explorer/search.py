"""Finds anything by its name: an address, hash, root, CID, round, block, or part of a name."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import chain

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

# Queries, by what a text may be. Their columns are fields of a `Hit`. Hexadecimal is looked for
# from :low to :high, so that the index on a column also finds a beginning.


def _closing(column: str, condition: str = "BETWEEN :low AND :high") -> str:
    """A closing by one of its columns of 32 bytes."""
    return (
        f"SELECT '{column}' AS kind, '{column.capitalize()} of round ' || round AS title, "
        "study.study, round, commitment FROM closing JOIN study ON study.id = closing.study "
        f"WHERE closing.{column} {condition} LIMIT 10"
    )


def _entry(kind: str, column: str) -> str:
    """A site's part in a closing, by a column of its entry."""
    return (
        f"SELECT '{kind}' AS kind, '{kind.capitalize()} of a site in round ' || round AS title, "
        "study.study, round, commitment, entry.site AS address FROM entry "
        "JOIN closing ON closing.id = entry.closing JOIN study ON study.id = closing.study "
        f"WHERE entry.{column} = :low LIMIT 10"
    )


def _event(kind: str, column: str) -> str:
    """A round or site by a column of an event."""
    return (
        f"SELECT DISTINCT '{kind}' AS kind, '{kind.capitalize()} in round ' || event.round "
        "AS title, study.study, event.round, event.site AS address FROM event "
        f"JOIN study ON study.id = event.study WHERE {column} = :low LIMIT 10"
    )


def _parameter(kind: str, title: str, name: str, digest: str = ":low") -> str:
    """A study by one of its parameters of 32 bytes."""
    return (
        f"SELECT '{kind}' AS kind, '{title}' AS title, study FROM study "
        f"WHERE json_extract(params, '$.{name}') = {digest} LIMIT 10"
    )


_STUDY = (
    "SELECT 'study' AS kind, 'Study' AS title, study FROM study "
    "WHERE study BETWEEN :low AND :high LIMIT 10"
)
_TRANSACTION = (
    "SELECT 'transaction' AS kind, 'Transaction in block ' || block AS title, "
    'hash AS "transaction", block FROM tx WHERE hash BETWEEN :low AND :high LIMIT 10'
)
_BLOCK = (
    "SELECT 'block' AS kind, 'Block ' || number AS title, number AS block FROM block "
    "WHERE hash BETWEEN :low AND :high LIMIT 10"
)
_OF_HASH = (
    *(_STUDY, _TRANSACTION, _BLOCK),
    *map(_closing, ("commitment", "model", "manifest", "contributions", "commitments")),
    *(_entry("update", "update_root"), _entry("report", "report")),
    *(_event("update", "root"), _event("demand", "reference")),
    _parameter("model", "Initial model", "initialModel"),
    _parameter("specification", "Specification", "specification"),
)
_OF_BEGINNING = (
    _STUDY,
    "SELECT DISTINCT 'site' AS kind, 'Site' AS title, site AS address FROM member "
    "WHERE site BETWEEN :low AND :high LIMIT 10",
    *(_TRANSACTION, _BLOCK),
    *map(_closing, ("model", "commitment", "manifest")),
)
_CALLED = "coalesce((SELECT ' ' || name FROM label WHERE address = :low), '')"
_OF_ADDRESS = (
    f"SELECT 'site' AS kind, 'Site' || {_CALLED} || ' in ' || count(*) || ' studies' AS title, "
    "site AS address FROM member WHERE site = :low GROUP BY site",
    "SELECT 'study' AS kind, 'Study of this sponsor' AS title, study FROM study "
    "WHERE sponsor = :low LIMIT 10",
    f"SELECT 'address' AS kind, 'Address' || {_CALLED} || ' in the events' AS title, "
    ":low AS address WHERE EXISTS (SELECT 1 FROM mention WHERE address = :low) "
    "OR EXISTS (SELECT 1 FROM member WHERE payout = :low)",
    "SELECT 'transaction' AS kind, 'Transaction it sent' AS title, "
    'hash AS "transaction", block FROM tx WHERE sender = :low ORDER BY id DESC LIMIT 5',
)
_OF_CID = tuple(
    f"SELECT *, :low AS cid FROM ({query})"
    for query in (
        _closing("manifest", "= :digest"),
        *(_entry("update", "update_cid"), _entry("report", "report_cid")),
        _parameter("specification", "Specification", "specification", ":digest"),
    )
)
_OF_NUMBER = (
    "SELECT 'round' AS kind, 'Round ' || :number || ' of ' || coalesce(nullif(json_extract("
    "specification.document, '$.study.name'), ''), substr(study.study, 1, 10)) AS title, "
    "study.study, :number AS round FROM study "
    "JOIN closing ON closing.study = study.id AND closing.round = :number "
    "LEFT JOIN specification ON specification.study = study.id "
    "GROUP BY study.id ORDER BY study.id DESC LIMIT 20",
    "SELECT 'block' AS kind, 'Block ' || number AS title, number AS block FROM block "
    "WHERE number = :number",
)
_OF_NAME = (
    "SELECT 'site' AS kind, 'Site ' || name AS title, address FROM label "
    "WHERE name LIKE :like ESCAPE '\\' ORDER BY name LIMIT 20",
    "SELECT 'study' AS kind, 'Study ' || json_extract(document, '$.study.name') AS title, "
    "study.study FROM specification JOIN study ON study.id = specification.study "
    "WHERE specification.status = 'verified' "
    "AND json_extract(document, '$.study.name') LIKE :like ESCAPE '\\' LIMIT 20",
)


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
    lower = wanted.lower()
    values: dict[str, str | int] = {"low": lower, "high": lower}
    queries: list[str] = []
    if _HEX.fullmatch(lower):
        if len(lower) == 42:
            queries += _OF_ADDRESS
        elif len(lower) == 66:
            queries += _OF_HASH
        elif len(lower) >= 8:
            queries += _OF_BEGINNING
            # Behind all that begins so.
            values["high"] = lower + "g"
    elif wanted:
        if number := _ROUND.fullmatch(lower):
            values["number"] = int(number.group(1))
            queries += _OF_NUMBER
        elif _CID.fullmatch(wanted):
            with suppress(Malformed):
                values["digest"] = "0x" + sha256_of_cid(wanted).hex()
                queries += _OF_CID
        like = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values["like"] = f"%{like}%"
        queries += _OF_NAME
    with reader.look() as db:
        rows = chain.from_iterable(db.execute(query, values) for query in queries)
        return list(dict.fromkeys(Hit(**dict(row)) for row in rows))[:HITS]
