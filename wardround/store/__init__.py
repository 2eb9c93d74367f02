"""Content stores: objects named by their own bytes."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wardround.store.base import Store
from wardround.store.errors import store_unknown
from wardround.store.folder import FolderStore
from wardround.store.replicated import ReplicatedStore

__all__ = ["FolderStore", "ReplicatedStore", "Store", "open_store"]

_QUORUM = re.compile(r"(.*?)(?:#quorum=([1-9][0-9]?))?")


def open_store(url: str | Path) -> Store:
    """Open the store at an address; a new folder is made by the first write.

    Args:
        url: a folder's path, ``file://`` and its absolute path, or ``ipfs://HOST:PORT``, the RPC
            of a daemon. Several of the latter two with commas between are replicas;
            ``#quorum=N`` after them is how many must take what is put, by default most.

    Raises:
        StoreError: no kind of store answers to this address.
    """
    if isinstance(url, Path):
        return FolderStore(url)
    if "://" not in url:
        # A confidential one is opened for one study (`wardround.store.study_store`); as a path it
        # would be a folder of that name.
        if not url or url.startswith("confidential:"):
            raise store_unknown(url)
        return FolderStore(Path(url))
    match = _QUORUM.fullmatch(url)
    assert match is not None  # the second part may be missing
    urls = re.split(r"\s*,\s*(?=[a-z][a-z0-9+.-]*://)", match[1])
    quorum = None if match[2] is None else int(match[2])
    if len(urls) == 1 and quorum is None:
        return _opened(url)
    if quorum is not None and quorum > len(urls):
        raise store_unknown(url)
    return ReplicatedStore([_opened(one) for one in urls], quorum)


def _opened(url: str) -> Store:
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "ipfs" and parts.hostname and parts.path in ("", "/"):
        # Imported here: its needs take a second to load, and most stores are folders.
        from wardround.store.ipfs import IpfsStore

        try:
            port = parts.port
        except ValueError as error:
            raise store_unknown(url) from error
        return IpfsStore(parts.hostname, port or 5001)
    raise store_unknown(url)
