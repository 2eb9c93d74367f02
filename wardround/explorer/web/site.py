"""The page of a site: all it signed, was scored and was paid, over all studies."""

from __future__ import annotations

from wardround.explorer.errors import NotIndexed
from wardround.explorer.sites import read_site
from wardround.explorer.views import Page, SiteActivity, SiteContribution
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.queries import Wanted, last_id, newest

_CONTRIBUTIONS = 50
_EVENTS = 12


def site_page(explorer: Explorer, address: str, cursor: str | None = None) -> bytes:
    """One site; an address that no study has admitted has a page that says so."""
    reader = explorer.reader
    with reader.look() as db:
        names = reader.names()
        try:
            found = read_site(reader, address, cursor, _CONTRIBUTIONS)
        except NotIndexed:
            nothing: Page[SiteContribution] = Page([], None, reader.extent())
            found = SiteActivity(address, names.get(address), [], nothing, reader.extent())
        studies = dict(
            db.execute(
                "SELECT study.study, json_extract(document, '$.study.name') FROM specification "
                "JOIN study ON study.id = specification.study JOIN member "
                "ON member.study = study.id WHERE member.site = ? AND status = 'verified'",
                (address,),
            ).fetchall()
        )
        heads = dict(
            db.execute(
                "SELECT study.study, study.head FROM study JOIN member ON member.study = study.id "
                "WHERE member.site = ?",
                (address,),
            ).fetchall()
        )
        missed = {}
        for one in found.memberships:
            ends = min(heads[one.study], one.until or heads[one.study])
            missed[one.study] = max(0, ends - one.since) - one.contributions
        return explorer.pages.render(
            "site.html",
            index=explorer.index(),
            since=last_id(reader),
            address=address,
            name=found.name,
            memberships=found.memberships,
            missed=missed,
            contributions=found.contributions.rows,
            older=found.contributions.next,
            contributed=sum(one.contributions for one in found.memberships),
            earned=sum(int(one.earned or 0) for one in found.memberships),
            paid=sum(int(one.paid) for one in found.memberships),
            study_names=studies,
            extent=found.extent,
            events=newest(reader, Wanted(site=address), _EVENTS),
        )
