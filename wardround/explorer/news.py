"""What is new in an index since one last looked: for pages, streams and terminals that are live."""

from __future__ import annotations

from dataclasses import dataclass, field

from wardround.explorer.reader import Reader
from wardround.explorer.views import EventRow, Health, Reorganisation

#: Events in one piece of news; more are only counted.
EVENTS = 100


@dataclass(frozen=True)
class Checked:
    """A manifest was looked at."""

    study: str
    round: int
    commitment: str
    status: str


@dataclass(frozen=True)
class News:
    """What has changed.

    Attributes:
        health: as it is now.
        events: the new ones, oldest first, at most `EVENTS`; the latest of them.
        skipped: how many new ones came before those.
        reorganisations: blocks that are gone; events of theirs that were shown no longer stand.
        manifests: those that were looked at.
    """

    health: Health
    events: list[EventRow] = field(default_factory=list)
    skipped: int = 0
    reorganisations: list[Reorganisation] = field(default_factory=list)
    manifests: list[Checked] = field(default_factory=list)


class NewsReader:
    """One reader's place in an index. Not for several threads at once."""

    def __init__(self, reader: Reader, after: str | None = None) -> None:
        """Begin.

        Args:
            reader: the index.
            after: cursor of the last event that is known already; by default all that are there.
        """
        self._reader = reader
        self._version = -1
        with reader.look() as db:
            (last,) = db.execute("SELECT coalesce(max(id), -1) FROM event").fetchone()
            self._event = last if after is None else int(after)
            (self._reorganisation,) = db.execute(
                "SELECT coalesce(max(id), 0) FROM reorganisation"
            ).fetchone()
            (self._manifest,) = db.execute("SELECT coalesce(max(id), 0) FROM manifest").fetchone()
        self._health: Health | None = None

    def poll(self) -> News | None:
        """What is new; None when nothing is, which takes a few microseconds to find out."""
        if not self._changed():
            return None
        with self._reader.look() as db:
            health = self._reader.health()
            gone = db.execute(
                "SELECT id, seen_at, ancestor, old_tip, old_hash, events_removed "
                "FROM reorganisation WHERE id > ? ORDER BY id",
                (self._reorganisation,),
            ).fetchall()
            if gone:
                self._reorganisation = gone[-1][0]
                first_gone = (min(row[2] for row in gone) + 1) << 20
                self._event = min(self._event, first_gone - 1)
            (count,) = db.execute(
                "SELECT count(*) FROM event WHERE id > ?", (self._event,)
            ).fetchone()
            events = self._reader.events(limit=min(EVENTS, count)).rows[::-1] if count else []
            if events:
                self._event = int(events[-1].cursor)
            checked = db.execute(
                "SELECT manifest.id, study.study, closing.round, closing.commitment, status "
                "FROM manifest JOIN closing ON closing.id = manifest.closing "
                "JOIN study ON study.id = closing.study WHERE manifest.id > ? "
                "ORDER BY manifest.id DESC LIMIT ?",
                (self._manifest, EVENTS),
            ).fetchall()
            if checked:
                self._manifest = checked[0][0]
        nothing = not events and not gone and not checked
        if nothing and health == self._health:
            return None
        self._health = health
        return News(
            health,
            events,
            count - len(events),
            [Reorganisation(*row[1:]) for row in gone],
            [Checked(*row[1:]) for row in reversed(checked)],
        )

    def _changed(self) -> bool:
        version = self._reader.version()
        if version == self._version:
            return False
        self._version = version
        return True
