"""The page of a site: all it signed, was scored and was paid, over all studies."""

from __future__ import annotations

from wardround.explorer.errors import NotIndexed
from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.rows import Page, SiteDetail
from wardround.explorer.sites import read_site
from wardround.explorer.studies import heads_and_names
from wardround.explorer.web.explorer import Explorer

_CONTRIBUTIONS = 50
_EVENTS = 12


def site_page(explorer: Explorer, address: str, cursor: str | None = None) -> bytes:
    """One site; the page of an address without a study states that."""
    reader = explorer.reader
    with reader.look():
        try:
            found = read_site(reader, address, cursor, _CONTRIBUTIONS)
        except NotIndexed:
            extent, name = reader.extent(), reader.names().get(address)
            found = SiteDetail(address, name, [], Page([], None, extent), extent)
        studies = heads_and_names(reader, address)
        missed = {}
        for one in found.memberships:
            head, _ = studies[one.study]
            ends = min(head, one.until or head)
            missed[one.study] = max(0, ends - one.since) - one.contributions
        return explorer.page(
            "site.html",
            address=address,
            name=found.name,
            memberships=found.memberships,
            missed=missed,
            contributions=found.contributions.rows,
            older=found.contributions.next,
            contributed=sum(one.contributions for one in found.memberships),
            earned=sum(int(one.earned or 0) for one in found.memberships),
            paid=sum(int(one.paid) for one in found.memberships),
            study_names={one: name for one, (_, name) in studies.items()},
            events=list_events(reader, EventFilter(address=address), limit=_EVENTS).rows,
        )
