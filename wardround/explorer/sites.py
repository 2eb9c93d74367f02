"""Questions about a site: everything it signed, was scored and was paid, over all studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wardround.explorer.reader import Reader, check_limit, cursor_key
from wardround.explorer.rounds import CLOSING, round_summary
from wardround.explorer.studies import members_of
from wardround.explorer.views import Extent, Member, Page, SiteActivity, SiteContribution

#: Closings that a site is in: by the chain's events (full recording), or by a verified manifest.
_CONTRIBUTIONS = (
    "SELECT * FROM (SELECT closed.id, event.weight, event.root FROM event "
    "JOIN closing AS closed ON closed.study = event.study AND closed.round = event.round "
    "JOIN event AS closing_event ON closing_event.id = closed.id "
    "AND closing_event.tx = event.tx "
    "WHERE event.site = :site AND event.name = 'Contributed' AND closed.id < :before "
    "ORDER BY event.id DESC LIMIT :limit) "
    "UNION SELECT * FROM (SELECT closing, weight, update_root FROM entry "
    "WHERE site = :site AND closing < :before ORDER BY closing DESC LIMIT :limit) "
    "ORDER BY 1 DESC LIMIT :limit"
)


def read_site(
    reader: Reader, site: str, cursor: str | None = None, limit: int = 50
) -> SiteActivity:
    """A site over all studies, its contributions in a page, the newest first.

    Raises:
        NotIndexed: no study has admitted this address in the indexed blocks.
        QueryInvalid: a cursor or limit that means nothing.
    """
    before = cursor_key(cursor)
    check_limit(limit)
    with reader.look() as db:
        extent, names = reader.extent(), reader.names()
        studies = db.execute(
            "SELECT study.id, study.study FROM member JOIN study ON study.id = member.study "
            "WHERE member.site = ? ORDER BY study.id DESC",
            (site,),
        ).fetchall()
        if not studies:
            raise reader.missing("site", site)
        memberships: list[Member] = [
            one for key, study in studies for one in members_of(db, key, study, names, only=site)
        ]
        values = {"site": site, "before": before, "limit": limit + 1}
        found = db.execute(_CONTRIBUTIONS, values).fetchall()
        rows = []
        for key, weight, root in found[:limit]:
            closing = db.execute(f"{CLOSING}WHERE closing.id = ?", (key,)).fetchone()
            entry = db.execute(
                "SELECT score, reward FROM entry WHERE closing = ? AND site = ?", (key, site)
            ).fetchone()
            rows.append(_contribution(closing, weight, root, entry, extent))
        following = rows[-1].cursor if len(found) > limit else None
        return SiteActivity(
            site, names.get(site), memberships, Page(rows, following, extent), extent
        )


def _contribution(
    closing: Sequence[Any],
    weight: int,
    root: str,
    entry: Sequence[Any] | None,
    extent: Extent,
) -> SiteContribution:
    summary = round_summary(closing, extent)
    return SiteContribution(
        cursor=str(closing[0]),
        study=summary.study,
        round=summary.round,
        commitment=summary.commitment,
        state=summary.state,
        weight=weight,
        update=root,
        score=None if entry is None else entry[0],
        reward=None if entry is None else entry[1],
        closed_at=summary.closed_at,
        block_hash=summary.block_hash,
        transaction=summary.transaction,
    )
