"""A round, as a pure state machine: what has come in, and whether it may be closed.

Every site that was asked ends in exactly one of two lists, accepted or dropped. Nothing here
reads a clock, a socket or a disk; time comes in as an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from wardround.protocol.contribution import Entry, sort_entries
from wardround.protocol.errors import RoundFailed
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.manifest import Dropped


class Phase(StrEnum):
    """What a round waits for."""

    COLLECTING = "collecting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Accepted:
    """A contribution that passed every check, and the CIDs of its stored objects."""

    entry: Entry
    update_cid: str
    report_cid: str


@dataclass(frozen=True)
class SiteAccepted:
    """A site's contribution was good."""

    accepted: Accepted


@dataclass(frozen=True)
class SiteRegistered:
    """A site's contribution is registered on chain: it overrides what came before."""

    accepted: Accepted


@dataclass(frozen=True)
class SiteDropped:
    """A site's reply was bad, or an error, or never came."""

    dropped: Dropped


@dataclass(frozen=True)
class SiteExcused:
    """A site's registration is void: not shown in time, or such that no round may hold it."""

    site: SiteAddress
    dropped: Dropped


@dataclass(frozen=True)
class TimeUp:
    """The round's time is over: sites that have not answered are dropped."""


Event = SiteAccepted | SiteRegistered | SiteDropped | SiteExcused | TimeUp


@dataclass(frozen=True)
class RoundState:
    """One round between opening and closing.

    Attributes:
        round: its number, from 1.
        asked: every site that was asked.
        minimum: fewer good contributions than this, and the round fails.
        accepted: by site.
        dropped: by site.
    """

    round: int
    asked: frozenset[SiteAddress]
    minimum: int
    accepted: Mapping[SiteAddress, Accepted] = field(default_factory=dict)
    dropped: Mapping[SiteAddress, Dropped] = field(default_factory=dict)

    @property
    def waiting(self) -> frozenset[SiteAddress]:
        """Sites that have not answered yet."""
        return self.asked - self.accepted.keys() - self.dropped.keys()

    @property
    def phase(self) -> Phase:
        """Collecting until all have answered or time is up; then ready, or failed."""
        if self.waiting:
            return Phase.COLLECTING
        return Phase.READY if len(self.accepted) >= self.minimum else Phase.FAILED

    @property
    def entries(self) -> list[Entry]:
        """Accepted entries in the order of every commitment: by site."""
        return sort_entries([accepted.entry for accepted in self.accepted.values()])

    @property
    def objects(self) -> list[tuple[str, str]]:
        """CIDs of update and report, in the order of the entries."""
        ordered = [self.accepted[entry.site] for entry in self.entries]
        return [(accepted.update_cid, accepted.report_cid) for accepted in ordered]

    def failure(
        self, names: Mapping[SiteAddress, str], absent: Iterable[SiteAddress]
    ) -> RoundFailed:
        """The error that names each site that failed, and why.

        Args:
            names: of sites, as they gave them.
            absent: admitted sites that no node has answered for.
        """

        def called(site: SiteAddress) -> str:
            return f"{names[site]} ({site})" if site in names else site

        reasons = [
            f"{called(site)}: {row.evidence} [{row.reason}]" for site, row in self.dropped.items()
        ]
        reasons += [f"{called(site)}: not connected" for site in absent]
        return RoundFailed(self.round, len(self.accepted), self.minimum, reasons)


def tick(state: RoundState, event: Event) -> RoundState:
    """Move a round on by one event.

    A site that has already answered, or was never asked, changes nothing: its first answer counts.
    """
    if isinstance(event, SiteAccepted):
        site = event.accepted.entry.site
        if site not in state.waiting:
            return state
        return replace(state, accepted={**state.accepted, site: event.accepted})
    if isinstance(event, SiteRegistered):
        site = event.accepted.entry.site
        if site in state.accepted:
            return state
        others = {other: row for other, row in state.dropped.items() if other != site}
        return replace(
            state,
            asked=state.asked | {site},
            accepted={**state.accepted, site: event.accepted},
            dropped=others,
        )
    if isinstance(event, SiteExcused):
        if event.site in state.accepted:
            return state
        return replace(
            state,
            asked=state.asked | {event.site},
            dropped={**state.dropped, event.site: event.dropped},
        )
    if isinstance(event, SiteDropped):
        found = [site for site in state.waiting if site.lower() == event.dropped.site]
        if not found:
            return state
        return replace(state, dropped={**state.dropped, found[0]: event.dropped})
    silent = {
        site: Dropped(site=site.lower(), reason="no_reply", evidence="no answer in time")
        for site in state.waiting
    }
    return replace(state, dropped={**state.dropped, **silent})
