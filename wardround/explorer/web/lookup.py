"""Pages that a name leads to: search, one event, a transaction, an object of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wardround.explorer.errors import NotIndexed
from wardround.explorer.reader import Reader
from wardround.explorer.search import search
from wardround.explorer.views import Hit
from wardround.explorer.web import urls
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.formats import size
from wardround.explorer.web.objects import not_shown
from wardround.explorer.web.parameters import SEARCH_MAX, NotThere
from wardround.explorer.web.queries import event_at, last_id, of_transaction, overturned_in
from wardround.store.errors import StoreError


@dataclass(frozen=True)
class Found:
    """A hit of a search, with where it leads."""

    what: str
    words: str
    target: str


def search_page(explorer: Explorer, asked: str) -> bytes:
    """What there is under a name."""
    asked = asked.strip()[:SEARCH_MAX]
    reader = explorer.reader
    with reader.look():
        found = [one for hit in search(reader, asked) if (one := _found(reader, hit))]
        index = explorer.index()
    extent = index.extent
    return explorer.pages.render(
        "search.html",
        asked=asked,
        index=index,
        hits=list(dict.fromkeys(found)),
        negative=(
            f"Nothing of that name in the indexed blocks {extent.first_block:,} to "
            f"{extent.last_block:,}, nor in the documents they lead to."
        ),
    )


def event_page(explorer: Explorer, block_hash: str, log_index: int) -> bytes:
    """One event, decoded beside raw.

    Raises:
        NotThere: no such block is indexed, or it has no such log of the contract.
    """
    reader = explorer.reader
    event = event_at(reader, block_hash, log_index)
    index = explorer.index()
    if event is None:
        raise NotThere(
            f"No event {log_index} of block {block_hash} is in the indexed blocks "
            f"{index.extent.first_block:,} to {index.extent.last_block:,}; the chain may have "
            "given that block up since."
        )
    address = index.contract if event.contract == "WardRound" else index.court
    return explorer.pages.render("event.html", index=index, event=event, address=address)


def transaction_page(explorer: Explorer, transaction: str) -> bytes:
    """A transaction with its events.

    Raises:
        NotThere: none of the indexed events are of it.
    """
    reader = explorer.reader
    with reader.look():
        try:
            found = reader.transaction(transaction)
        except NotIndexed as error:
            raise NotThere(str(error)) from error
        events = of_transaction(reader, transaction)
        index = explorer.index()
        since = last_id(reader)
    return explorer.pages.render(
        "transaction.html", index=index, since=since, found=found, events=events
    )


def block_page(explorer: Explorer, name: str) -> bytes:
    """The events of a block.

    Raises:
        NotThere: it is not in the index.
    """
    reader = explorer.reader
    with reader.look():
        try:
            block = reader.block(name)
        except NotIndexed as error:
            raise NotThere(str(error)) from error
        events = [
            event
            for one in reversed(block.events)
            if (event := event_at(reader, block.hash, one.log_index))
        ]
        index = explorer.index()
    return explorer.pages.render("block.html", index=index, block=block, events=events)


def object_page(explorer: Explorer, cid: str) -> bytes:
    """An object of the store, told by what it is.

    Raises:
        NotThere: the store has none of that name, or it is too large for a page.
        Sealed: it is encrypted, and there is no key to it.
    """
    try:
        shown = explorer.objects.shown(cid)
    except StoreError as error:
        raise not_shown(error) from error
    hits = search(explorer.reader, cid)
    if shown.root:
        hits += search(explorer.reader, shown.root)
    return explorer.pages.render(
        "object.html",
        index=explorer.index(),
        cid=cid,
        shown=shown,
        size=size(shown.bytes),
        named_by=[one for one in _places(explorer.reader, hits) if one.target != urls.content(cid)],
    )


def _places(reader: Reader, hits: Sequence[Hit]) -> list[Found]:
    """Rounds and studies that name an object, each once."""
    found: dict[str, Found] = {}
    for hit in hits:
        words = "Its study" if hit.kind == "specification" else hit.title
        one = _found(reader, replace(hit, cid=None, title=words))
        if one is not None:
            found.setdefault(one.target, one)
    return list(found.values())


def _found(reader: Reader, hit: Hit) -> Found | None:
    """Where a hit leads; of a closing that was overturned, to that one and not to the one since."""
    if hit.cid is not None:
        return Found(hit.kind, hit.title, urls.content(hit.cid))
    if hit.study is not None and hit.round is not None:
        block = None
        if hit.commitment is not None:
            block = overturned_in(reader, hit.study, hit.round, hit.commitment)
        words = hit.title if block is None else f"{hit.title}, overturned"
        return Found(hit.kind, words, urls.round_page(hit.study, hit.round, block))
    target = None
    if hit.study is not None:
        target = urls.study(hit.study)
    elif hit.address is not None:
        target = urls.site(hit.address)
    elif hit.transaction is not None:
        target = urls.transaction(hit.transaction)
    elif hit.block is not None:
        target = urls.block(hit.block)
    return None if target is None else Found(hit.kind, hit.title, target)
