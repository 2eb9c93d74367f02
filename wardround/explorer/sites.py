"""Queries for a site: everything it signed, earned and was paid, over all studies."""

from __future__ import annotations

from wardround.explorer.reader import Reader, check_limit, cursor_key
from wardround.explorer.rounds import closing_rows, members_of, share_by_weight
from wardround.explorer.rows import Page, SignedRow, SiteDetail

#: Closings that a site is in: by the chain's events (full recording), or by a verified manifest.
_CONTRIBUTIONS = (
    "SELECT * FROM (SELECT closed.id, event.weight, event.root, "
    "(SELECT share FROM entry WHERE entry.closing = closed.id AND entry.site = :site) FROM event "
    "JOIN closing AS closed ON closed.study = event.study AND closed.round = event.round "
    "AND closed.entries_tx = event.tx "
    "WHERE event.site = :site AND event.name = 'Contributed' AND closed.id < :before "
    "ORDER BY event.id DESC LIMIT :limit) "
    "UNION SELECT * FROM (SELECT closing, weight, update_root, share FROM entry "
    "WHERE site = :site AND closing < :before ORDER BY closing DESC LIMIT :limit) "
    "ORDER BY 1 DESC LIMIT :limit"
)
_OF_CLOSING = ("study", "round", "commitment", "state", "closed_at", "block_hash", "transaction")


def read_site(reader: Reader, site: str, cursor: str | None = None, limit: int = 50) -> SiteDetail:
    """A site over all studies, its contributions in a page, the newest first.

    Raises:
        NotIndexed: no study has admitted this address.
        QueryInvalid: the cursor or the limit is invalid.
    """
    before = cursor_key(cursor)
    check_limit(limit)
    with reader.look() as db:
        extent, names = reader.extent(), reader.names()
        memberships = [
            one
            for key, study in db.execute(
                "SELECT study.id, study.study FROM member JOIN study ON study.id = member.study "
                "WHERE member.site = ? ORDER BY study.id DESC",
                (site,),
            ).fetchall()
            for one in members_of(db, key, study, names, only=site)
        ]
        if not memberships:
            raise reader.missing(f"site {site}")
        values = {"site": site, "before": before, "limit": limit + 1}
        found = db.execute(_CONTRIBUTIONS, values).fetchall()
        closings = closing_rows(db, [one[0] for one in found[:limit]], extent)
        rows = [
            SignedRow(
                cursor=str(key),
                weight=weight,
                update=root,
                reward=share
                or share_by_weight(db, closing.study, closing.reward, weight, closing.total_weight),
                **{name: getattr(closing, name) for name in _OF_CLOSING},
            )
            for (key, weight, root, share), closing in zip(found, closings, strict=False)
        ]
        following = rows[-1].cursor if len(found) > limit else None
        return SiteDetail(site, names.get(site), memberships, Page(rows, following, extent), extent)
