"""The folder store, with real files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.protocol.cid import cid_of
from wardround.protocol.errors import Malformed
from wardround.store import FolderStore, open_store
from wardround.store.errors import ObjectAltered, ObjectMissing, ObjectTooLarge, StoreError


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    cid = cid_of(b"a")
    mistyped = open_store(tmp_path / "sotre")
    with pytest.raises(ObjectMissing, match=r"there is no such folder"):
        mistyped.get(cid)
    assert not mistyped.has(cid)
    assert list(mistyped.cids()) == []
    assert list(tmp_path.iterdir()) == []
    mistyped.put(b"a")
    assert mistyped.get(cid) == b"a"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ObjectMissing, match=r"there is no such folder"):
        open_store(tmp_path / "file").get(cid_of(b"a"))


@pytest.mark.parametrize("data", [b"", b"a", bytes(1 << 20), bytes((1 << 20) + 1)])
def test_get_returns_what_was_put(store: FolderStore, data: bytes) -> None:
    cid = store.put(data)
    assert cid == cid_of(data)
    assert store.has(cid)
    assert store.get(cid) == data
    assert store.map(cid) == data
    assert (store.folder / cid).read_bytes() == data


@given(data=st.binary(max_size=3000))
@settings(max_examples=30)
def test_put_is_idempotent(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = FolderStore(tmp_path_factory.getbasetemp() / "shared")
    cid = store.put(data)
    before = (store.folder / cid).stat()
    assert store.put(memoryview(data)) == cid
    assert (store.folder / cid).stat().st_ino == before.st_ino


def test_map_is_read_only(store: FolderStore) -> None:
    view = store.map(store.put(b"vector"))
    with pytest.raises(TypeError):
        view[0] = 0


def test_missing_object_is_named(store: FolderStore) -> None:
    cid = cid_of(b"never put")
    assert not store.has(cid)
    for read in (store.get, store.map):
        with pytest.raises(ObjectMissing) as caught:
            read(cid)
        assert caught.value.cid == cid


@pytest.mark.parametrize("position", [0, 500, 999])
def test_any_flipped_byte_is_found_and_put_mends_it(store: FolderStore, position: int) -> None:
    data = bytes(range(250)) * 4
    cid = store.put(data)
    altered = bytearray(data)
    altered[position] ^= 1
    (store.folder / cid).write_bytes(altered)
    for read in (store.get, store.map):
        with pytest.raises(ObjectAltered) as caught:
            read(cid)
        assert caught.value.cid == cid
        assert caught.value.found == cid_of(bytes(altered))
    assert store.put(data) == cid
    assert store.get(cid) == data


@pytest.mark.parametrize("damage", [b"", b"grown"])
def test_object_of_another_length_is_altered(store: FolderStore, damage: bytes) -> None:
    cid = store.put(b"data")
    (store.folder / cid).write_bytes(b"data" + damage if damage else b"dat")
    with pytest.raises(ObjectAltered):
        store.get(cid)


def test_object_longer_than_allowed_is_not_read(store: FolderStore) -> None:
    cid = store.put(bytes(100))
    assert store.get(cid, max_bytes=100) == bytes(100)
    for read in (store.get, store.map):
        with pytest.raises(ObjectTooLarge) as caught:
            read(cid, max_bytes=99)
        assert (caught.value.size_bytes, caught.value.max_bytes) == (100, 99)


@pytest.mark.parametrize("cid", ["", "../secret", "/etc/passwd", "a/b", "bafy", ".new-00"])
def test_names_that_are_no_cid_are_refused(store: FolderStore, cid: str) -> None:
    (store.folder.parent / "secret").write_bytes(b"x")
    for read in (store.get, store.map, store.has):
        with pytest.raises(Malformed):
            read(cid)


def test_cids_are_sorted_and_leave_out_other_files(store: FolderStore) -> None:
    put = [store.put(bytes([n])) for n in range(5)]
    (store.folder / ".new-0123456789abcdef").write_bytes(b"half wri")
    (store.folder / "README").write_bytes(b"")
    assert list(store.cids()) == sorted(put)


def test_failed_write_leaves_nothing(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put(b"data")
    assert list(store.folder.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from wardround.store import FolderStore
store = FolderStore(Path(sys.argv[1]))
print("ready", flush=True)
n = 0
while True:
    store.put(n.to_bytes(4, "big") * 50_000)
    n += 1
"""


def test_kill_while_writing_leaves_only_whole_objects(store: FolderStore) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.folder)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == "ready\n"
        while len(list(store.cids())) < 20:
            pass
        writer.kill()
        writer.wait()
    for cid in store.cids():
        assert len(store.get(cid)) == 200_000


def test_open_store_by_address(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    cid = FolderStore(folder).put(b"x")
    for url in (folder, str(folder), folder.as_uri()):
        assert open_store(url).get(cid) == b"x"


@pytest.mark.parametrize("url", ["", "s3://bucket", "http://127.0.0.1:5001", "file://host/x"])
def test_open_store_at_unknown_address(url: str) -> None:
    with pytest.raises(StoreError, match=f"{url!r} is no store's address"):
        open_store(url)


def test_size_of_a_file_is_known_without_reading_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    cid = store.put(b"x" * 1000)
    assert store.size(cid) == 1000
    (tmp_path / cid).write_bytes(b"other")
    assert store.size(cid) == 5
    with pytest.raises(ObjectMissing):
        store.size(cid_of(b"nothing"))
