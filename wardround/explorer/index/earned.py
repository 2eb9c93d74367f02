"""What sites have earned by the rounds that stand, added up as entries are read.

Amounts are decimal text, which SQL cannot add; and a page must not add a million entries.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

_ENTRIES = (
    "SELECT entry.site, entry.share FROM entry JOIN closing ON closing.id = entry.closing "
    "WHERE closing.overturned IS NULL AND entry.share IS NOT NULL AND "
)


def add_earned(db: sqlite3.Connection, closing: int) -> None:
    """Add the shares of a closing whose entries have just been stored."""
    found = db.execute("SELECT study FROM closing WHERE id = ?", (closing,)).fetchone()
    _add(db, found[0], db.execute(f"{_ENTRIES}closing.id = ?", (closing,)))


def recount_earned(db: sqlite3.Connection, study: int) -> None:
    """Add up all shares of a study again, after rounds of it were overturned or undone."""
    db.execute("DELETE FROM earned WHERE study = ?", (study,))
    _add(db, study, db.execute(f"{_ENTRIES}closing.study = ?", (study,)))


def _add(db: sqlite3.Connection, study: int, entries: Iterable[tuple[str, str]]) -> None:
    shares: Counter[str] = Counter()
    for site, share in entries:
        shares[site] += int(share)
    for site, added in shares.items():
        row = db.execute(
            "SELECT amount FROM earned WHERE study = ? AND site = ?", (study, site)
        ).fetchone()
        before = 0 if row is None else int(row[0])
        db.execute(
            "INSERT OR REPLACE INTO earned VALUES (?, ?, ?)", (study, site, str(before + added))
        )
