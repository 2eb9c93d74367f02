"""Runs an index: follows the chain, and fetches objects and transactions while it is idle."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from wardround.explorer.index.database import open_writer, set_meta, transaction
from wardround.explorer.index.decode import EventTable
from wardround.explorer.index.follow import Extended, Follower, UpToDate
from wardround.explorer.index.node import Node
from wardround.explorer.index.objects import ObjectReader
from wardround.explorer.index.tokens import TokenReader
from wardround.explorer.index.transactions import TransactionReader
from wardround.explorer.source import Source, store_name
from wardround.host.backoff import pauses
from wardround.host.reason import reason_of
from wardround.protocol.errors import Retryable, WardroundError

#: Polling intervals at the tip, for a node on this machine and for another one.
_NEAR_SECONDS, _FAR_SECONDS = 0.02, 1.0
_NEAR = ("127.0.0.1", "::1", "localhost")
#: Blocks behind the tip that count as final, where nothing else is asked for.
CONFIRMATIONS = 12

_CHORES = 8
_MISSING_AGAIN_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.2, 5.0


class Indexer:
    """One index of one source.

    Attributes:
        follower: reads the chain.
    """

    def __init__(
        self,
        source: Source,
        path: Path,
        confirmations: int = CONFIRMATIONS,
    ) -> None:
        """Open the index; create it if it is missing.

        Args:
            source: what is looked at.
            path: the index file.
            confirmations: blocks behind the tip that may still change; none of a finished run.

        Raises:
            IndexUnusable: the file has another format, chain or contract.
        """
        self.source = source
        self.path = path
        self.db: sqlite3.Connection = open_writer(path, source.identity)
        names = source.contracts
        self.follower = Follower(
            self.db,
            Node(source.chain.rpc, list(names)),
            EventTable(names),
            source.first_block,
        )
        self._objects = None if source.store is None else ObjectReader(self.db, source.store)
        self._transactions = TransactionReader(self.db, source.chain.rpc)
        self._tokens = TokenReader(self.db, source.chain)
        self._looked_again = 0.0
        self._reported: dict[str, str] = {}
        with transaction(self.db):
            set_meta(
                self.db,
                {
                    "source": source.name,
                    "store": store_name(source.store),
                    "confirmations": str(confirmations if source.live else 0),
                },
            )
            self.db.executemany(
                "INSERT OR REPLACE INTO label VALUES (?, ?)", list(source.labels.items())
            )
            self.db.executemany(
                "INSERT OR REPLACE INTO statement VALUES (?, ?, ?)",
                [(*key, json.dumps(one)) for key, one in source.statements.items()],
            )
        self._report("catching up")

    def close(self) -> None:
        """Close the index."""
        self.db.close()

    def catch_up(self) -> None:
        """Take in all there is, with objects and transactions.

        Raises:
            WardroundError: after several attempts, if it is retryable.
        """
        try:
            self.follower.catch_up()
            while self._chores(256):
                pass
        except Exception as error:
            self._report("stopped", _trouble(error))
            raise
        self._report("following" if self.source.live else "finished")

    def run(self, stop: threading.Event) -> None:
        """Follow the chain until `stop` is set. Errors are stored in the index, for its readers.

        Raises:
            WardroundError: not retryable; names the block.
        """
        pause = _FAR_SECONDS
        url = self.source.chain.url
        if url.startswith(("ipc://", "embedded:")) or urlsplit(url).hostname in _NEAR:
            pause = _NEAR_SECONDS
        again = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        while not stop.is_set():
            try:
                busy = self._once()
            except Exception as error:
                # Whatever ends the thread: readers must not go on believing that it follows.
                if not isinstance(error, Retryable):
                    self._report("stopped", _trouble(error))
                    raise
                # The node may recover or be replaced; until then nothing of it is indexed.
                self._report("waiting", str(error))
                stop.wait(next(again))
                continue
            again = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
            if not busy:
                stop.wait(pause)

    def _once(self) -> bool:
        """One step; False when there was nothing to do."""
        step = self.follower.step()
        if not isinstance(step, UpToDate):
            # Near the tip a batch is a block or two, and the state need not change for each.
            if isinstance(step, Extended) and step.last - step.first > 100:
                self._report("catching up")
            return True
        words = f"the node is {step.behind} blocks behind the index" if step.behind else ""
        self._report("following", words)
        return self._chores(_CHORES) > 0

    def _chores(self, limit: int) -> int:
        done = self._tokens.fetch(limit) + self._transactions.fetch(8 * limit)
        if self._objects is not None:
            done += self._objects.fetch(limit)
            # Missing objects may still come: sites and coordinators are slower than blocks.
            now = time.monotonic()
            if not done and self.source.live and now > self._looked_again + _MISSING_AGAIN_SECONDS:
                self._looked_again = now
                self._objects.fetch(limit, again=True)
        return done

    def _report(self, state: str, trouble: str = "") -> None:
        status = {"state": state, "trouble": trouble}
        if status != self._reported:
            with transaction(self.db):
                set_meta(self.db, status)
            self._reported = status


def _trouble(error: Exception) -> str:
    if isinstance(error, WardroundError):
        return str(error)
    return f"{type(error).__name__}: {reason_of(error)}"
