"""The embedded store: a folder with one file per object, named by its CID."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround.host.durable import write_durably
from wardround.protocol.cid import Cid, cid_of, sha256_of_cid
from wardround.store.base import MAX_OBJECT_BYTES, Store
from wardround.store.errors import ObjectAltered, ObjectMissing, ObjectTooLarge

_OBJECT_NAME = re.compile(r"b[a-z2-7]{58}")


class FolderStore(Store):
    """A folder; several processes may use it at once.

    A write goes to a temporary file that is synced and renamed, so a file under a CID is whole or
    absent, whenever the power fails. An object that was altered on disk is written again by the
    next `put` of its true bytes.
    """

    is_forkable = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # made by the first `put`: a reader's mistyped path leaves nothing

    def put(self, data: bytes | memoryview) -> Cid:
        view = memoryview(data).cast("B")
        cid = cid_of(view)
        try:
            self.map(cid)
        except (ObjectMissing, ObjectAltered):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Hidden until it is whole, so `cids` never names what a crash left half written.
            write_durably(self._path(cid), view)
        return cid

    def get(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        with self._opened(cid, max_bytes) as (file, size), open(file, "rb", closefd=False) as whole:
            data = whole.read(size)
        self._verify(cid, memoryview(data))
        return data

    def map(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        """Map an object into memory and verify it. See `Store.map`.

        The pages are the file's own: they cost no memory of the process, and a later
        change of the file changes the view. This class never writes into an existing file.
        """
        with self._opened(cid, max_bytes) as (file, size):
            # An empty file cannot be mapped.
            mapped = mmap.mmap(file, size, access=mmap.ACCESS_READ) if size else b""
        view = memoryview(mapped)
        self._verify(cid, view)
        return view

    def has(self, cid: str) -> bool:
        return self._path(cid).is_file()

    def size(self, cid: str) -> int | None:
        with self._opened(cid, MAX_OBJECT_BYTES) as (_, size):
            return size

    def cids(self) -> Iterator[Cid]:
        names = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
        return (Cid(name) for name in names if _OBJECT_NAME.fullmatch(name))

    def _path(self, cid: str) -> Path:
        sha256_of_cid(cid)  # refuses every name that could lead out of the folder
        return self.folder / cid

    @contextmanager
    def _opened(self, cid: str, max_bytes: int) -> Iterator[tuple[int, int]]:
        try:
            file = os.open(self._path(cid), os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            where = "" if self.folder.is_dir() else " (there is no such folder)"
            raise ObjectMissing(cid, f"{self.folder}{where}") from error
        try:
            size = os.fstat(file).st_size
            if size > max_bytes:
                raise ObjectTooLarge(cid, size, max_bytes)
            yield file, size
        finally:
            os.close(file)

    def _verify(self, cid: str, data: memoryview) -> None:
        found = cid_of(data)
        if found != cid:
            raise ObjectAltered(cid, found, str(self.folder))
