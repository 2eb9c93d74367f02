"""Decimals of the tokens that studies pay in, by which their amounts are written."""

from __future__ import annotations

import sqlite3

from wardround.chain.chain import Chain
from wardround.chain.study_token import StudyToken
from wardround.explorer.index.database import transaction


class TokenReader:
    """Asks each token once how many decimals it has, which no event says."""

    def __init__(self, connection: sqlite3.Connection, chain: Chain) -> None:
        self._db = connection
        self._chain = chain

    def fetch(self, limit: int) -> int:
        """Ask tokens for the first time; return how many.

        Raises:
            ChainUnreachable: no answer.
        """
        wanted = self._db.execute(
            "SELECT DISTINCT token FROM study WHERE token NOT IN (SELECT address FROM token) "
            "LIMIT ?",
            (limit,),
        ).fetchall()
        if not wanted:
            return 0
        rows = [(one, StudyToken(self._chain, one).decimals()) for (one,) in wanted]
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO token VALUES (?, ?)", rows)
        return len(rows)
