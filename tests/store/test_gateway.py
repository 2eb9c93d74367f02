"""A gateway over a real socket: who gets what, and what bad requests get."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from eth_account import Account

from tests.chain.staged import Theatre, theatre
from tests.store.secrecy import Person, Scene, vectors
from tests.store.served import gateway, served, serving
from wardround.audit.audit import StudyAudit
from wardround.chain.grants import Grants
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import cid_of
from wardround.protocol.contribution import Domain
from wardround.protocol.identifiers import hex_of
from wardround.store.confidential import ConfidentialStore
from wardround.store.errors import (
    ObjectAltered,
    ObjectMissing,
    ObjectSealed,
    ObjectTooLarge,
    StoreError,
    StoreUnreachable,
)
from wardround.store.gateway_vault import GatewayVault
from wardround.store.request import HEADER, Request
from wardround.store.sealing import is_sealed, seal
from wardround.store.study_store import open_study_store


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture(scope="module")
def played(opened: Theatre, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One round of a study, closed by a coordinator on a confidential store."""
    folder = tmp_path_factory.mktemp("played")
    grants = Grants.deploy(opened.ward.chain, opened.stranger, opened.ward.address)
    stage = opened.stage(rounds=2)
    shutil.copytree(stage.store.folder, folder / "objects")
    scene = Scene(opened, grants, stage, folder)
    coordinator = scene.person(opened.parties.first)
    scene.grant(coordinator)
    stage.store = scene.store(coordinator, writes=True)  # type: ignore[assignment]
    stage.close(coordinator.account)
    scene.coordinator = coordinator
    return scene


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(played: Scene, clock: Clock) -> Iterator[str]:
    with gateway(played, clock) as address:
        yield address


@pytest.fixture
def reader(played: Scene) -> Person:
    person = played.person()
    played.grant(person)
    played.store(played.coordinator, writes=True).sync()
    return person


def remote(scene: Scene, url: str, person: Person | None, writes: bool = False) -> Any:
    account = None if person is None else person.account
    vault = GatewayVault(url, scene.grants.domain, account, time.time, 5)
    return ConfidentialStore(
        vault,
        scene.theatre.ward,
        scene.grants,
        scene.stage.study,
        None if person is None else person.reading,
        account if writes else None,
    )


def test_granted_reader_audits_through_the_gateway(played: Scene, url: str, reader: Person) -> None:
    store = remote(played, url, reader)
    assert played.audit(store) == 1
    store.close()


def test_without_a_grant_documents_only(played: Scene, url: str) -> None:
    for person in (None, played.person()):
        store = remote(played, url, person)
        work = StudyAudit(played.theatre.ward, played.stage.study, store)
        assert work.spec == played.stage.spec
        for cid in vectors(played, 1):
            with pytest.raises(ObjectSealed):
                store.get(cid)
        with pytest.raises(ObjectSealed):
            list(store.cids())
        store.close()


def test_grant_counts_at_that_moment(played: Scene, url: str, reader: Person) -> None:
    store = remote(played, url, reader)
    cid = vectors(played, 1)[0]
    assert store.get(cid)
    played.revoke(reader)
    with pytest.raises(ObjectSealed):
        store.get(cid)
    store.close()


def test_coordinator_works_through_the_gateway(played: Scene, url: str) -> None:
    store = remote(played, url, played.coordinator, writes=True)
    data = b"\x0a" * 200_000
    cid = store.put(data)
    store.close()
    assert played.store(played.coordinator).get(cid) == data
    address = (
        f"confidential:{url}#grants={played.grants.address}"
        f"&key={played.coordinator.account.address}.key"
    )
    again = open_study_store(
        address,
        played.folder,
        played.theatre.ward,
        played.stage.study,
        played.coordinator.account,
    )
    assert again.get(cid) == data
    again.close()  # type: ignore[attr-defined]


# ---------------------------------------------------------------- signatures


class Asking:
    """Requests with one thing wrong."""

    def __init__(self, scene: Scene, url: str, person: Person) -> None:
        self.scene, self.url, self.person = scene, url, person
        self.study = scene.stage.study
        self.path = f"/rings/{hex_of(self.study)}"

    def header(self, **changes: Any) -> str:
        fields: dict[str, Any] = {
            "study": self.study,
            "method": "GET",
            "path": self.path,
            "body": sha256_digest(b""),
            "time": int(time.time()),
            "nonce": Account.create().key,
        }
        domain = changes.pop("domain", self.scene.grants.domain)
        return Request(**{**fields, **changes}).header(domain, self.person.account)

    def get(self, header: str | None, path: str | None = None) -> httpx.Response:
        headers = {} if header is None else {HEADER: header}
        return httpx.get(self.url + (path or self.path), headers=headers, timeout=5)


@pytest.fixture
def asking(played: Scene, url: str, reader: Person) -> Asking:
    return Asking(played, url, reader)


def test_request_counts_once(asking: Asking) -> None:
    header = asking.header()
    assert asking.get(header).status_code == 200
    again = asking.get(header)
    assert again.status_code == 401
    assert "made before" in again.text


def test_request_is_good_for_a_minute(asking: Asking, clock: Clock) -> None:
    header = asking.header()
    for ahead in (-70, 70):
        clock.ahead_seconds = ahead
        assert asking.get(header).status_code == 401
    clock.ahead_seconds = 50
    assert asking.get(header).status_code == 200
    # Remembered as long as it would be good.
    clock.ahead_seconds = 59
    assert asking.get(header).status_code == 401


@pytest.mark.parametrize("what", ["study", "method", "path", "domain", "nonce", "time"])
def test_signature_for_something_else(asking: Asking, what: str) -> None:
    from wardround.protocol.contribution import Domain

    wrong: dict[str, Any] = {
        "study": b"\x01" * 32,
        "method": "PUT",
        "path": "/rings/0x00",
        "domain": Domain(1, asking.scene.grants.address),
    }
    if what in wrong:
        header = asking.header(**{what: wrong[what]})
    else:
        parts = asking.header().split(" ")
        place = {"time": 0, "nonce": 1}[what]
        parts[place] = str(int(parts[0]) + 1) if what == "time" else "00" * 32
        header = " ".join(parts)
    answer = asking.get(header)
    assert answer.status_code == 403  # the signer has no grant
    assert "has no grant" in answer.text


@pytest.mark.parametrize("header", [None, "", "x", "1 2 3 4", "9" * 400])
def test_header_of_another_form(asking: Asking, header: str | None) -> None:
    answer = asking.get(header)
    assert answer.status_code == 400
    assert answer.text.count("\n") == 1


def test_malleable_signature_is_refused(asking: Asking) -> None:
    time_, nonce, body, signature = asking.header().split(" ")
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = order - int(signature[64:128], 16)
    flipped = "1b" if signature[128:] == "1c" else "1c"
    other = f"{signature[:64]}{high:064x}{flipped}"
    assert asking.get(f"{time_} {nonce} {body} {other}").status_code == 401


def test_another_studys_objects_are_not_given(asking: Asking) -> None:
    other = "0x" + "01" * 32
    assert asking.get(asking.header(), f"/rings/{other}").status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/documents/nothing", 400),
        ("/documents/../../secret", 404),
        ("/documents/..%2f..%2fsecret", 404),
        (f"/documents/{cid_of(b'never put')}", 404),
        ("/", 404),
        ("/sealed/0x12/x", 400),
    ],
)
def test_paths_that_lead_nowhere(url: str, path: str, status: int) -> None:
    assert httpx.get(url + path, timeout=5).status_code == status


def test_sealed_objects_are_no_documents(played: Scene, url: str) -> None:
    """Otherwise a stranger could fetch ciphertext and rings by their own names."""
    for name, data in played.objects().items():
        status = httpx.get(f"{url}/documents/{name}", timeout=5).status_code
        public = data[:1] == b"{" and b"wardround-keys" not in data
        initial = not is_sealed(data) and data[:1] != b"{"
        assert status == (200 if public or initial else 404)


# ---------------------------------------------------------------- bringing


def bring(asking: Asking, data: bytes, cid: str, **changes: Any) -> httpx.Response:
    path = f"/sealed/{hex_of(asking.study)}/{cid}"
    fields = {"method": "PUT", "path": path, "body": sha256_digest(data)} | changes
    headers = {HEADER: asking.header(**fields)}
    return httpx.put(asking.url + path, content=data, headers=headers, timeout=5)


def sealed_for(asking: Asking, content: bytes, epoch: int) -> bytes:
    cid = cid_of(content)
    return bytes(seal(memoryview(content), cid, asking.study, epoch, b"\x01" * 32))


def test_what_is_brought_is_checked(asking: Asking) -> None:
    epoch = asking.scene.grants.epoch(asking.study)
    content = b"\x0b" * 100
    cid = cid_of(content)
    good = sealed_for(asking, content, epoch)
    assert bring(asking, b"plain text", cid).status_code == 400
    assert bring(asking, good, cid_of(b"other")).status_code == 400
    assert bring(asking, good[:-1], cid).status_code == 400
    assert bring(asking, b"", cid).status_code == 413
    assert bring(asking, good, cid, body=sha256_digest(b"another")).status_code == 401
    old = bring(asking, sealed_for(asking, content, epoch - 1), cid)
    assert old.status_code == (409 if epoch > 1 else 400)
    assert bring(asking, sealed_for(asking, content, epoch + 1), cid).status_code == 409
    assert bring(asking, good, cid).status_code == 204


def test_stranger_brings_nothing(asking: Asking) -> None:
    asking.person = asking.scene.person()
    data = sealed_for(asking, b"\x0c" * 10, 1)
    assert bring(asking, data, cid_of(b"\x0c" * 10)).status_code == 403
    path = f"/rings/{hex_of(asking.study)}"
    headers = {HEADER: asking.header(method="POST", path=path, body=sha256_digest(b"{}"))}
    assert httpx.post(asking.url + path, content=b"{}", headers=headers).status_code == 403


def test_ring_that_is_none_is_not_kept(asking: Asking) -> None:
    path = f"/rings/{hex_of(asking.study)}"
    headers = {HEADER: asking.header(method="POST", path=path, body=sha256_digest(b"{}"))}
    assert httpx.post(asking.url + path, content=b"{}", headers=headers).status_code == 400


# ---------------------------------------------------------------- a gateway that lies


def test_gateway_that_lies_is_found_out(played: Scene) -> None:
    cid = cid_of(b'{"a":1}')
    vault_of = lambda url: GatewayVault(  # noqa: E731
        url, played.grants.domain, played.coordinator.account, time.time, 2
    )
    study = played.stage.study
    with lying(b"something else") as url:
        vault = vault_of(url)
        with pytest.raises(ObjectAltered):
            vault.document(cid)
        with pytest.raises(ObjectTooLarge):
            vault.document(cid, 5)
        with pytest.raises(StoreError, match="no JSON"):
            vault.rings(study)
        store = ConfidentialStore(
            vault, played.theatre.ward, played.grants, study, played.coordinator.reading
        )
        with pytest.raises(ObjectAltered):
            store.get(vectors(played, 1)[0])
        store.close()
    for text in (b"{}", b"[1]", b'["\\ud800"]', b"[" * 100_000):
        with lying(text) as url:
            vault = vault_of(url)
            with pytest.raises(StoreError, match=r"no list|no JSON"):
                vault.rings(study)
            vault.close()


def lying(body: bytes) -> AbstractContextManager[str]:
    """The same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return serving(Handler)


def test_gateway_that_is_away_or_no_gateway(played: Scene) -> None:
    domain = played.grants.domain
    account = played.coordinator.account
    away = GatewayVault("http://127.0.0.1:9", domain, account, time.time, 2)
    with pytest.raises(StoreUnreachable):
        away.document(cid_of(b"x"))
    away.close()
    with served(lambda *_: b"busy") as url:
        other = GatewayVault(url, domain, account, time.time, 2)
        with pytest.raises(StoreError, match="501"):
            other.document(cid_of(b"x"))
        other.close()


def test_reader_without_a_key_is_told_so(played: Scene, url: str, reader: Person) -> None:
    vault = GatewayVault(url, played.grants.domain, reader.account, time.time, 5)
    store = ConfidentialStore(vault, played.theatre.ward, played.grants, played.stage.study)
    with pytest.raises(ObjectSealed):
        store.get(vectors(played, 1)[0])
    with pytest.raises(ObjectMissing):
        store.get(cid_of(b"never put"))
    store.close()


def test_gateway_that_drips_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4000000")
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.05)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Dripping) as url:
        domain = Domain(1, Account.create().address)
        vault = GatewayVault(url, domain, None, time.time, timeout_seconds=0.1)
        with pytest.raises(StoreUnreachable, match="more than 1 seconds"):
            vault.document(cid_of(b"x"))
        vault.close()
