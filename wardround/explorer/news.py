"""What is new in an index since the last look: for pages, streams and terminals that are live."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from wardround.explorer.events import last_event, list_events
from wardround.explorer.index.database import open_reader
from wardround.explorer.reader import Reader
from wardround.explorer.rows import EventRow, Reorganisation

#: New events in one answer; pages load again when there are more.
NEW_EVENTS = 200


@dataclass(frozen=True)
class IndexChange:
    """What has changed; all empty where only gas or documents were filled in.

    Attributes:
        events: new ones, oldest first, at most `NEW_EVENTS`.
        more: whether there are more new events than these.
        reorganisations: events behind their ancestors are no longer valid.
    """

    events: list[EventRow]
    more: bool
    reorganisations: list[Reorganisation]


class IndexWatch:
    """Watches an index. Deliberately mutable: it keeps what it has reported."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        # Its own connection: data_version counts what others wrote since this one looked.
        self._connection = open_reader(reader.path)
        self._lock = Lock()
        self._polled = self.version()
        with reader.look() as db:
            self._event = last_event(reader)
            (self._reorganisation,) = db.execute(
                "SELECT coalesce(max(id), 0) FROM reorganisation"
            ).fetchone()

    def version(self) -> int:
        """A number that changes whenever the index does. Thread-safe."""
        with self._lock:
            (found,) = self._connection.execute("PRAGMA data_version").fetchone()
            return int(found)

    def poll(self) -> IndexChange | None:
        """What is new since the last call; None, after a few microseconds, when nothing is."""
        version = self.version()
        if version == self._polled:
            return None
        self._polled = version
        with self._reader.look() as db:
            gone = db.execute(
                "SELECT id, seen_at, ancestor, old_tip, old_hash, events_removed "
                "FROM reorganisation WHERE id > ? ORDER BY id",
                (self._reorganisation,),
            ).fetchall()
            reorganisations = [Reorganisation(*row[1:]) for row in gone]
            if gone:
                self._reorganisation = gone[-1][0]
                kept = min(one.ancestor for one in reorganisations)
                self._event = min(self._event, ((kept + 1) << 20) - 1)
            found = self.since(self._event)
            self._event = last_event(self._reader)
        return IndexChange(found.events, found.more, reorganisations)

    def since(self, event: int) -> IndexChange:
        """Events after one, by its id."""
        page = list_events(self._reader, cursor=str(event), limit=NEW_EVENTS, newest_first=False)
        return IndexChange(page.rows, page.next is not None, [])
