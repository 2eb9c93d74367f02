"""What is new in the index since it was last looked at, rendered once for all open pages."""

from __future__ import annotations

import sqlite3
from threading import Lock

from wardround.explorer.index.database import open_reader
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.live import message
from wardround.explorer.web.queries import last_id, since
from wardround.explorer.web.rows import EventRow

#: More than this at once is not sent row by row: pages load themselves again.
_ROWS_MAX = 200


class News:
    """Watches the index. Deliberately mutable: it remembers what it has told."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer
        # Of its own, because `data_version` tells what others wrote since this one looked.
        self._watch: sqlite3.Connection = open_reader(explorer.reader.path)
        self._lock = Lock()
        self._version = 0
        self._seen = (-1, -1, -1)
        self.version()

    def version(self) -> int:
        """A number that grows whenever the index changes."""
        with self._lock:
            (found,) = self._watch.execute("PRAGMA data_version").fetchone()
            self._version = found
            return int(found)

    def poll(self) -> list[bytes]:
        """Messages about what changed since the last call."""
        version, told, reorganisations = self._seen
        found = self.version()
        if found == version:
            return []
        reader = self._explorer.reader
        with reader.look() as db:
            (now,) = db.execute("SELECT count(*) FROM reorganisation").fetchone()
            newest = last_id(reader)
            rows = since(reader, told, _ROWS_MAX + 1) if told >= 0 else []
        self._seen = (found, newest, now)
        if version == -1:
            return []
        if now != reorganisations or newest < told or len(rows) > _ROWS_MAX:
            return [message("reload", {})]
        return [self._rows(rows)] if rows else [message("changed", {})]

    def missed(self, after: int) -> bytes:
        """What a page that shows events up to `after` has missed; empty when nothing."""
        rows = since(self._explorer.reader, after, _ROWS_MAX + 1)
        if len(rows) > _ROWS_MAX:
            return message("reload", {})
        return self._rows(rows) if rows else b""

    def _rows(self, rows: list[EventRow]) -> bytes:
        last = rows[-1]
        said = f"{last.name}: {last.words}" if len(rows) == 1 else f"{len(rows)} new events"
        value = {
            "rows": [{"study": row.study, "html": self._explorer.pages.row(row)} for row in rows],
            "studies": sorted({row.study for row in rows if row.study}),
            "said": said,
        }
        return message("rows", value, key=last.id)
