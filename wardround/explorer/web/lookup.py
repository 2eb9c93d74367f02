"""Pages that a name leads to: search, a site, an event, a transaction, a block, an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wardround.explorer.errors import NotIndexed
from wardround.explorer.events import (
    EventFilter,
    list_events,
    read_block,
    read_event,
    read_transaction,
)
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import overturned_in
from wardround.explorer.rows import Hit, Page, SiteDetail
from wardround.explorer.search import LONGEST, search
from wardround.explorer.sites import read_site
from wardround.explorer.studies import heads_and_names, tokens_of_site
from wardround.explorer.web import urls
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.formats import size

_CONTRIBUTIONS = 50
_EVENTS = 12


@dataclass(frozen=True)
class Link:
    """A hit of a search, with the page that it leads to."""

    what: str
    words: str
    target: str


def search_page(explorer: Explorer, asked: str) -> bytes:
    """Everything of a name."""
    asked = asked.strip()[:LONGEST]
    reader = explorer.reader
    with reader.look():
        found = [one for hit in search(reader, asked) if (one := _link(reader, hit))]
        extent = reader.extent()
        negative = (
            f"Nothing of that name in the indexed blocks {extent.first_block:,} to "
            f"{extent.last_block:,}, nor in the documents they lead to."
        )
        hits = list(dict.fromkeys(found))
        return explorer.page("search.html", asked=asked, hits=hits, negative=negative)


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
        money = tokens_of_site(reader, address)
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
            decimals={one: decimals for one, (_, decimals) in money.items()},
            one_token=len(set(money.values())) == 1,
            study_names={one: name for one, (_, name) in studies.items()},
            events=list_events(reader, EventFilter(address=address), limit=_EVENTS).rows,
        )


def event_page(explorer: Explorer, block_hash: str, index: int) -> bytes:
    """One event, decoded and raw.

    Raises:
        NotIndexed: the block is not indexed, or has no such log of the contract.
    """
    reader = explorer.reader
    event, health = read_event(reader, block_hash, index), reader.health()
    address = health.contract if event.contract == "WardRound" else health.court
    return explorer.page("event.html", event=event, address=address)


def transaction_page(explorer: Explorer, transaction: str) -> bytes:
    """A transaction with its events.

    Raises:
        NotIndexed: it has no indexed event.
    """
    with explorer.reader.look():
        return explorer.page(
            "transaction.html", found=read_transaction(explorer.reader, transaction)
        )


def block_page(explorer: Explorer, block: str) -> bytes:
    """A block with its events.

    Raises:
        NotIndexed: it is not in the index.
    """
    with explorer.reader.look():
        return explorer.page("block.html", block=read_block(explorer.reader, block))


def object_page(explorer: Explorer, cid: str) -> bytes:
    """An object of the store, shown by its kind.

    Raises:
        StoreError: the store does not have it, it is too large for a page, or it is encrypted.
    """
    shown = explorer.objects.shown(cid)
    reader = explorer.reader
    hits = search(reader, cid)
    if shown.root:
        hits += search(reader, shown.root)
    return explorer.page(
        "object.html",
        cid=cid,
        shown=shown,
        size=size(shown.bytes),
        named_by=[one for one in _places(reader, hits) if one.target != urls.content(cid)],
    )


def _places(reader: Reader, hits: Sequence[Hit]) -> list[Link]:
    """Rounds and studies that name an object, each once."""
    found: dict[str, Link] = {}
    for hit in hits:
        words = "Its study" if hit.kind == "specification" else hit.title
        one = _link(reader, replace(hit, cid=None, title=words))
        if one is not None:
            found.setdefault(one.target, one)
    return list(found.values())


def _link(reader: Reader, hit: Hit) -> Link | None:
    """The page of a hit; an overturned closing leads to itself, not to the one that followed."""
    title, target = hit.title, None
    if hit.cid is not None:
        target = urls.content(hit.cid)
    elif hit.study is not None and hit.round is not None:
        block = None
        if hit.commitment is not None:
            block = overturned_in(reader, hit.study, hit.round, hit.commitment)
        title += "" if block is None else ", overturned"
        target = urls.round_page(hit.study, hit.round, block)
    elif hit.study is not None:
        target = urls.study(hit.study)
    elif hit.address is not None:
        target = urls.site(hit.address)
    elif hit.transaction is not None:
        target = urls.transaction(hit.transaction)
    elif hit.block is not None:
        target = urls.block(hit.block)
    return None if target is None else Link(hit.kind, title, target)
