"""A store in several places, some of which are away, damaged, full, or come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.ipfs_contract import Recorded, content, serving
from wardround.protocol.cid import Cid, cid_of
from wardround.protocol.errors import Retryable
from wardround.store import FolderStore, ReplicatedStore, open_store
from wardround.store.base import Store
from wardround.store.errors import ObjectAltered, ObjectMissing, ObjectTooLarge, StoreUnreachable
from wardround.store.ipfs import IpfsStore


class Away(FolderStore):
    """A folder that may be unmounted."""

    away = False

    def _path(self, cid: str) -> Path:
        if self.away:
            raise OSError(5, "Input/output error")
        return super()._path(cid)


@pytest.fixture
def replicas(tmp_path: Path) -> list[Away]:
    return [Away(tmp_path / name) for name in "abc"]


@pytest.fixture
def store(replicas: list[Away]) -> ReplicatedStore:
    return ReplicatedStore(replicas)


def damage(replica: FolderStore, cid: str, data: bytes) -> None:
    (replica.folder / cid).write_bytes(data)


def test_what_is_put_is_everywhere(store: ReplicatedStore, replicas: list[Away]) -> None:
    cid = store.put(b"model")
    assert cid == cid_of(b"model")
    assert [replica.get(cid) for replica in replicas] == [b"model"] * 3
    assert store.get(cid) == store.map(cid) == b"model"
    assert store.has(cid)
    assert list(store.cids()) == [cid]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_one_may_be_away(store: ReplicatedStore, replicas: list[Away], lost: int) -> None:
    before = store.put(b"before")
    replicas[lost].away = True
    cid = store.put(b"model")
    assert store.get(cid) == b"model"
    assert store.get(before) == b"before"
    replicas[lost].away = False
    assert not replicas[lost].has(cid)
    assert store.repair() == 1
    assert replicas[lost].get(cid) == b"model"
    assert store.repair() == 0


def test_too_few_are_named_and_it_may_be_put_again(
    store: ReplicatedStore, replicas: list[Away]
) -> None:
    replicas[0].away = replicas[2].away = True
    with pytest.raises(StoreUnreachable) as caught:
        store.put(b"model")
    assert isinstance(caught.value, Retryable)
    for away, named in zip(replicas, (True, False, True), strict=True):
        assert (str(away.folder) in str(caught.value)) is named
    assert "Input/output error" in str(caught.value)
    replicas[0].away = False
    assert store.get(store.put(b"model")) == b"model"


@pytest.mark.parametrize("bad", [b"mode", b"modem", b"", b"model and more"])
def test_damaged_object_is_read_elsewhere_and_mended(
    store: ReplicatedStore, replicas: list[Away], bad: bytes
) -> None:
    cid = store.put(b"model")
    damage(replicas[0], cid, bad)
    assert store.get(cid, 5) == b"model"
    assert replicas[0].get(cid) == b"model"
    (replicas[0].folder / cid).unlink()
    assert store.map(cid) == b"model"
    assert replicas[0].get(cid) == b"model"


def test_repair_mends_every_replica(store: ReplicatedStore, replicas: list[Away]) -> None:
    cids = [store.put(bytes([n]) * 100) for n in range(6)]
    damage(replicas[1], cids[0], b"x")
    (replicas[2].folder / cids[1]).unlink()
    (replicas[0].folder / cids[1]).unlink()
    assert store.repair() == 3
    for replica in replicas:
        assert sorted(replica.cids()) == sorted(cids)
        for cid in cids:
            assert len(replica.get(cid)) == 100


def test_what_is_damaged_everywhere_cannot_be_mended(
    store: ReplicatedStore, replicas: list[Away]
) -> None:
    cid = store.put(b"model")
    for replica in replicas:
        damage(replica, cid, b"medal")
    with pytest.raises(ObjectAltered):
        store.get(cid)
    with pytest.raises(ObjectAltered):
        store.repair()


def test_missing_is_said_only_when_all_have_answered(
    store: ReplicatedStore, replicas: list[Away]
) -> None:
    cid = cid_of(b"never put")
    with pytest.raises(ObjectMissing):
        store.get(cid)
    assert not store.has(cid)
    replicas[1].away = True
    for ask in (store.get, store.has):
        with pytest.raises(OSError, match="Input/output"):
            ask(cid)


def test_too_large_everywhere(store: ReplicatedStore) -> None:
    cid = store.put(b"model")
    with pytest.raises(ObjectTooLarge):
        store.get(cid, 4)


def test_nobody_answers(store: ReplicatedStore, replicas: list[Away]) -> None:
    cid = store.put(b"model")

    class Gone(Store):
        def _gone(self, *_: object) -> Cid:
            raise StoreUnreachable("elsewhere", "timeout")

        put = get = map = has = cids = _gone  # type: ignore[assignment]

    gone = ReplicatedStore([Gone(), Gone()])
    for ask in (gone.get, gone.has):
        with pytest.raises(StoreUnreachable):
            ask(cid)
    with pytest.raises(StoreUnreachable, match="1 replicas must answer"):
        list(gone.cids())
    with pytest.raises(StoreUnreachable, match="2 replicas must answer"):
        gone.put(b"model")
    mixed = ReplicatedStore([Gone(), replicas[0]], quorum=1)
    assert mixed.get(cid) == b"model"
    assert list(mixed.cids()) == [cid]


@pytest.mark.parametrize("quorum", [0, 4])
def test_quorum_that_cannot_be(replicas: list[Away], quorum: int) -> None:
    with pytest.raises(ValueError, match="quorum"):
        ReplicatedStore(replicas, quorum)


def test_address_of_folders(tmp_path: Path) -> None:
    first, second = (tmp_path / "a, b").as_uri(), (tmp_path / "c").as_uri()
    store = open_store(f"{first},{second}")
    assert isinstance(store, ReplicatedStore)
    assert store.quorum == 2
    cid = store.put(b"x")
    assert FolderStore(tmp_path / "c").get(cid) == FolderStore(tmp_path / "a, b").get(cid) == b"x"


@pytest.mark.filterwarnings("ignore:The 'strict' parameter:FutureWarning")
def test_daemon_and_folder_stand_in_for_each_other(tmp_path: Path) -> None:
    with serving(Recorded().answer) as port:
        daemon, folder = IpfsStore("127.0.0.1", port), FolderStore(tmp_path)
        store = ReplicatedStore([folder, daemon])
        cid = store.put(content(1 << 20))
        (tmp_path / cid).write_bytes(b"damaged")
        assert store.get(cid) == content(1 << 20)
        assert folder.get(cid) == content(1 << 20)
        store.close()
