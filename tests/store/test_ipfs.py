"""The store in an IPFS daemon: against what a real one answered, and against one that lies.

The first half also runs against a real daemon: WARDROUND_IPFS=ipfs://127.0.0.1:PORT names one that
runs; else one is started where `tests.store.ipfs_daemon` finds it installed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.store.ipfs_contract import MISSING, SIZES, Answer, Recorded, content, serving
from tests.store.ipfs_daemon import Daemon
from wardround.protocol.cid import cid_of
from wardround.protocol.errors import Malformed, Retryable
from wardround.store import FolderStore, ReplicatedStore, ipfs, open_store
from wardround.store.errors import (
    ObjectAltered,
    ObjectMissing,
    ObjectTooLarge,
    StoreError,
    StoreUnreachable,
)
from wardround.store.ipfs import IpfsStore

pytestmark = pytest.mark.filterwarnings("ignore:The 'strict' parameter:FutureWarning")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipfs, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture(scope="module")
def daemon_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = os.environ.get("WARDROUND_IPFS")
    if url is not None:
        yield url
        return
    daemon = Daemon(tmp_path_factory.mktemp("ipfs") / "daemon")
    yield daemon.url
    daemon.kill()


@pytest.fixture(params=["recorded", "real"])
def store(request: pytest.FixtureRequest) -> Iterator[IpfsStore]:
    if request.param == "recorded":
        with serving(Recorded().answer) as port:
            opened = IpfsStore("127.0.0.1", port)
            yield opened
            opened.close()
        return
    real = open_store(request.getfixturevalue("daemon_url"))
    assert isinstance(real, IpfsStore)
    yield real
    real.close()


@pytest.mark.parametrize("size", SIZES)
def test_object_has_the_same_cid_as_in_a_folder(store: IpfsStore, size: int, tmp_path: Any) -> None:
    data = content(size)
    cid = store.put(data)
    assert cid == FolderStore(tmp_path).put(data) == cid_of(data)
    assert store.has(cid)
    assert store.get(cid) == data
    assert store.map(cid) == data
    assert cid in set(store.cids())


def test_object_longer_than_allowed_is_not_read(store: IpfsStore) -> None:
    cid = store.put(content(1 << 20))
    with pytest.raises(ObjectTooLarge) as caught:
        store.get(cid, (1 << 20) - 1)
    assert caught.value.size_bytes == 1 << 20


def test_object_that_is_not_pinned_is_missing_at_once(store: IpfsStore) -> None:
    """A daemon would look for it in the whole network."""
    started = time.monotonic()
    with pytest.raises(ObjectMissing):
        store.get(cid_of(MISSING))
    assert not store.has(cid_of(MISSING))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("cid", ["", "../x", "QmRaaUwTNfwgFZpeUy8qrZwrp2dY4kCKmmB5xEqvH3vtD1"])
def test_names_that_are_no_cid_of_ours(store: IpfsStore, cid: str) -> None:
    for ask in (store.get, store.has):
        with pytest.raises(Malformed):
            ask(cid)


# ---------------------------------------------------------------- daemons that fail


class Faulty:
    """The recorded daemon with some of its answers replaced."""

    def __init__(self, **faults: Any) -> None:
        self._recorded = Recorded()
        self._faults = faults
        self.asked = self._recorded.asked

    def answer(self, path: str, headers: Any, body: bytes) -> Answer | None:
        name = path.removeprefix("/api/v0/").partition("?")[0].replace("/", "_")
        if name not in self._faults:
            return self._recorded.answer(path, headers, body)
        self.asked.append(path)
        fault = self._faults[name]
        return fault() if callable(fault) else fault


def reply(value: Any, status: int = 200) -> Answer:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
    return {"status": status, "type": kind, "body": data}


def asked_of(faulty: Faulty, ask: Any, timeout_seconds: float = 5) -> Any:
    with serving(faulty.answer) as port:
        store = IpfsStore("127.0.0.1", port, timeout_seconds)
        try:
            return ask(store)
        finally:
            store.close()


ONE = cid_of(content(1))


def test_daemon_that_adds_otherwise_is_refused() -> None:
    other = Faulty(add=reply({"Name": "x", "Hash": cid_of(b"other"), "Size": "1"}))
    with pytest.raises(StoreError, match="adds otherwise"):
        asked_of(other, lambda store: store.put(content(1)))


@pytest.mark.parametrize("body", [b"", b"x", b"\x01", b"\x00\x00"])
def test_other_bytes_are_found(body: bytes) -> None:
    with pytest.raises(ObjectAltered) as caught:
        asked_of(Faulty(cat=reply(body)), lambda store: store.get(ONE))
    assert caught.value.cid == ONE


def test_no_more_is_read_than_was_announced() -> None:
    endless = Faulty(cat=reply(bytes(5 << 20)))
    with pytest.raises(ObjectAltered, match="more than 1 bytes"):
        asked_of(endless, lambda store: store.get(ONE))


@pytest.mark.parametrize("stat", [{}, {"Size": "1"}, {"Size": -1}, [], "x"])
def test_size_that_is_none(stat: Any) -> None:
    with pytest.raises(StoreError, match="refuses"):
        asked_of(Faulty(files_stat=reply(stat)), lambda store: store.get(ONE))


@pytest.mark.parametrize("pins", [{}, {"Keys": "x"}, {"Keys": 1}, []])
def test_list_of_pins_that_is_none(pins: Any) -> None:
    with pytest.raises(StoreError, match="refuses"):
        asked_of(Faulty(pin_ls=reply(pins)), lambda store: list(store.cids()))


def test_pins_of_others_are_left_out() -> None:
    keys = {
        ONE: {"Type": "recursive"},
        "QmRaaUwTNfwgFZpeUy8qrZwrp2dY4kCKmmB5xEqvH3vtD1": {"Type": "recursive"},
        "zb2rhmy65F3REf8SZp7De11gxtECBGgUKaLdiDj7MCGCHxbDW": {"Type": "recursive"},
        "z" + "1" * 48: {},
    }
    found = asked_of(Faulty(pin_ls=reply({"Keys": keys})), lambda store: list(store.cids()))
    assert found == sorted([ONE, cid_of(b"")])


def test_refusal_is_said_in_one_line() -> None:
    refusal = reply({"Message": "no space\nleft", "Code": 0, "Type": "error"}, 500)
    with pytest.raises(StoreError, match="no space left") as caught:
        asked_of(Faulty(add=refusal), lambda store: store.put(content(1)))
    assert "\n" not in str(caught.value)


def test_lost_connections_are_tried_again() -> None:
    answers = iter([None, None])
    recorded = Recorded()

    def flaky(path: str, headers: Any, body: bytes) -> Answer | None:
        if path.startswith("/api/v0/add"):
            for answer in answers:
                return answer
        return recorded.answer(path, headers, body)

    with serving(flaky) as port:
        store = IpfsStore("127.0.0.1", port)
        assert store.put(content(1)) == ONE
        store.close()


def test_daemon_that_is_away_or_hangs() -> None:
    away = IpfsStore("127.0.0.1", 9)
    with pytest.raises(StoreUnreachable, match=r"\(connection refused or lost") as caught:
        away.put(b"x")
    assert isinstance(caught.value, Retryable)
    away.close()

    def hang() -> None:
        time.sleep(1)

    with pytest.raises(StoreUnreachable, match=r"\(no answer in time\)"):
        asked_of(Faulty(pin_ls=hang), lambda store: store.has(ONE), timeout_seconds=0.2)


# ---------------------------------------------------------------- addresses


def test_address_of_a_daemon_and_of_several() -> None:
    store = open_store("ipfs://127.0.0.1:5002")
    assert isinstance(store, IpfsStore)
    assert store.url == "ipfs://127.0.0.1:5002"
    store.close()
    several = open_store("ipfs://127.0.0.1,ipfs://localhost:5002#quorum=1")
    assert isinstance(several, ReplicatedStore)
    assert several.quorum == 1
    assert [one.url for one in several.replicas] == [  # type: ignore[attr-defined]
        "ipfs://127.0.0.1:5001",
        "ipfs://localhost:5002",
    ]
    several.close()


@pytest.mark.parametrize(
    "url", ["ipfs://", "ipfs://h:x", "ipfs://h:5001/path", "ipfs://h,s3://x", "ipfs://h#quorum=2"]
)
def test_address_of_no_daemon(url: str) -> None:
    with pytest.raises(StoreError, match="is no store's address"):
        open_store(url)
