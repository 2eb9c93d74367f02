"""Every address of the web pages, built in one place, and nowhere by hand."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, urlencode

STATIC = Path(__file__).parent / "static"


def overview() -> str:
    """All studies and the live feed."""
    return "/"


def study(study_id: str) -> str:
    """One study."""
    return f"/study/{quote(study_id)}"


def round_page(study_id: str, number: int, block: str | None = None, part: str = "") -> str:
    """One round; with a block's hash, as that block closed it, for good.

    Args:
        study_id: the study's.
        number: of the round.
        block: hash of the block that closed it.
        part: ``/bytes`` for what a reader's browser checks it from, ``/replay`` for the stream of a
            replay on the server.
    """
    return f"{study(study_id)}/round/{number}{part}" + query(block=block)


def evidence(study_id: str, number: int | None = None) -> str:
    """An archive that can be verified offline, of a study or of one round."""
    return (study(study_id) if number is None else round_page(study_id, number)) + "/evidence.zip"


def site(address: str) -> str:
    """One site, over all studies."""
    return f"/site/{quote(address)}"


def events(ending: str = "", /, **filters: object) -> str:
    """The event log, filtered; as a file with the ending ``.csv`` or ``.json``."""
    return f"/events{ending}" + query(**filters)


def event(block_hash: str, log_index: int) -> str:
    """One event, by its block's hash: a link that never changes meaning."""
    return f"/block/{quote(block_hash)}/log/{log_index}"


def block(name: int | str) -> str:
    """All events of a block, by its number or hash."""
    return f"/block/{quote(str(name))}"


def transaction(transaction_hash: str) -> str:
    """All events of a transaction."""
    return f"/transaction/{quote(transaction_hash)}"


def content(cid: str) -> str:
    """An object of the store, shown."""
    return f"/object/{quote(cid)}"


def raw(cid: str) -> str:
    """An object's bytes."""
    return f"/object/{quote(cid)}/raw"


def search() -> str:
    """Where the search form leads."""
    return "/search"


def live(since: int) -> str:
    """The stream of rows that are newer than what a page shows."""
    return f"/live?since={since}"


def static(name: str) -> str:
    """A file of ours; its digest is in the address, so that browsers may keep it for good."""
    return f"/static/{quote(name)}?v={_digest(name)}"


def query(**values: object) -> str:
    """Write a query of what is not empty."""
    kept = {name: str(value) for name, value in values.items() if value not in (None, "")}
    return "?" + urlencode(kept) if kept else ""


@lru_cache(maxsize=64)
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
