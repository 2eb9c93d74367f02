"""Content stores: objects named by their own bytes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ledger.errors import StoreUnknown
from ledger.store.base import Store
from ledger.store.folder import FolderStore

__all__ = ["FolderStore", "Store", "open_store"]


def open_store(url: str | Path) -> Store:
    """Open the store at an address, making it when it is a new folder.

    Args:
        url: a folder's path, or ``file://`` and its absolute path.

    Raises:
        StoreUnknown: no kind of store answers to this address.
    """
    if isinstance(url, Path):
        return FolderStore(url)
    if "://" not in url:
        if not url:
            raise StoreUnknown(url)
        return FolderStore(Path(url))
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FolderStore(Path(unquote(parts.path)))
    raise StoreUnknown(url)
