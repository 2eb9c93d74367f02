"""A reader written from the pages alone reads what wardround wrote, and refuses changed bytes."""

from __future__ import annotations

import ast
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from tests.chain.staged import theatre
from tests.store import second_reader
from tests.store.second_reader import (
    HEADER,
    Contracts,
    SecondReader,
    WrongBytes,
    canonical,
    check_guard_log,
    check_journal,
    check_round,
    cid_of,
    document,
    key_name,
    ring_info,
    seal,
    wrap,
)
from tests.store.secrecy import Person, Scene, vectors
from tests.store.served import gateway
from wardround.chain.grants import Grants
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.journal import read_journal, start_journaled
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.cid import cid_of as wardround_cid_of
from wardround.store.errors import ObjectAltered, ObjectSealed
from wardround_client.guard.log import GuardLog, create_log

LONG = Random(1).randbytes(3 * 65_536 - 5)
RECORD = {"total_weight": "totalWeight"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two rounds in two epochs on a confidential store, and one object of several frames."""
    folder = tmp_path_factory.mktemp("second")
    with theatre(folder / "theatre") as opened:
        grants = Grants.deploy(opened.ward.chain, opened.stranger, opened.ward.address)
        stage = opened.stage(rounds=2)
        shutil.copytree(stage.store.folder, folder / "objects")
        found = Scene(opened, grants, stage, folder)
        found.coordinator, revoked = found.person(opened.parties.first), found.person()
        found.grant(found.coordinator)
        found.grant(revoked)
        store = found.store(found.coordinator, writes=True)
        stage.store = store  # type: ignore[assignment]
        stage.close(found.coordinator.account)
        found.revoke(revoked)
        stage.close(found.coordinator.account)
        store.put(LONG)
        yield found


@pytest.fixture
def reader(scene: Scene) -> Person:
    person = scene.person()
    scene.grant(person)
    scene.store(scene.coordinator, writes=True).sync()
    return person


def private_of(scene: Scene, person: Person) -> bytes:
    text = (scene.folder / f"{person.account.address}.key").read_text("ascii").strip()
    return bytes.fromhex(text.removeprefix("0x"))


def contracts_of(scene: Scene) -> Contracts:
    """What a node answers."""
    ward, study = scene.theatre.ward, scene.stage.study
    created = ward.created(study)
    writers = {created.params.sponsor.lower(), *map(str.lower, created.parties.coordinators)}
    chain_id = ward.chain.chain_id
    return Contracts(chain_id, ward.address, scene.grants.address, study, frozenset(writers))


def second(scene: Scene, person: Person, objects: Path | None = None) -> SecondReader:
    objects = objects or scene.folder / "objects"
    return SecondReader(objects, contracts_of(scene), private_of(scene, person))


def replaced(scene: Scene, folder: Path, old: bytes, new: bytes) -> Path:
    """The store with one object in place of another, each under the CID of its bytes."""
    objects = folder / "changed"
    shutil.copytree(scene.folder / "objects", objects)
    (objects / cid_of(old)).unlink()
    (objects / cid_of(new)).write_bytes(new)
    return objects


def sealed_of(scene: Scene, cid: str) -> bytes:
    """What a content was sealed into."""
    (found,) = (
        data
        for data in scene.objects().values()
        if data.startswith(second_reader.MAGIC) and cid.encode() == data[76:135]
    )
    return found


def rings_of(scene: Scene) -> list[dict[str, Any]]:
    objects = scene.objects().values()
    return [document(data) for data in objects if b'"format":"wardround-keys/1"' in data]


def test_second_reader_shares_nothing_with_wardround() -> None:
    source = Path(second_reader.__file__).read_text("utf-8")
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - sys.stdlib_module_names == {"cryptography", "eth_account"}


def test_it_recomputes_every_round(scene: Scene, reader: Person) -> None:
    ward, study = scene.theatre.ward, scene.stage.study
    found, root = second(scene, reader), ward.params(study).initial_model
    closed = ward.closed_rounds(study)
    assert len(closed) == 2
    for one in closed:
        values = asdict(one.closing.record).items()
        record = {RECORD.get(name, name): value for name, value in values}
        root = check_round(found, contracts_of(scene), record, root)  # type: ignore[assignment]
        with pytest.raises(WrongBytes, match="another model"):
            changed = {**record, "model": bytes(32)}
            base = ward.params(study).initial_model if one is closed[0] else closed[0]
            before = base if isinstance(base, bytes) else base.closing.record.model
            check_round(found, contracts_of(scene), changed, before)
    assert {len(key) for key in found.keys.values()} == {32}
    assert len(found.keys) == 2, "a key an epoch"


def test_it_reads_every_content_and_name(scene: Scene, reader: Person) -> None:
    found, store = second(scene, reader), scene.store(reader)
    for cid in store.cids():
        assert found.get(cid) == store.get(cid)
    assert found.get(cid_of(LONG)) == LONG


def test_without_a_key_it_reads_what_is_public(scene: Scene) -> None:
    found = second(scene, scene.person())
    with pytest.raises(WrongBytes, match="no key to"):
        found.get(vectors(scene, 1)[0])
    digest = scene.theatre.ward.params(scene.stage.study).specification
    assert document(found.by_digest(digest)) == scene.stage.spec.document()


@pytest.mark.parametrize(
    "place",
    [20, 52, 60, 76 + 5, 135 + 7, 143, 174, 175, 175 + 65_536, -1],
    ids=["study", "epoch", "key_name", "cid", "size", "salt", "salt-end", "content", "tag", "last"],
)
def test_it_refuses_a_changed_object(
    scene: Scene, reader: Person, tmp_path: Path, place: int
) -> None:
    cid = cid_of(LONG)
    data = sealed_of(scene, cid)
    changed = bytearray(data)
    changed[place] ^= 1
    with pytest.raises(WrongBytes):
        second(scene, reader, replaced(scene, tmp_path, data, bytes(changed))).get(cid)


@pytest.mark.parametrize("how", ["cut", "swapped", "frame", "padded"])
def test_it_refuses_frames_in_another_order(
    scene: Scene, reader: Person, tmp_path: Path, how: str
) -> None:
    cid = cid_of(LONG)
    data = sealed_of(scene, cid)
    head, whole = data[: HEADER.size], 65_536 + 16
    one, two, three = (
        data[HEADER.size + at * whole : HEADER.size + (at + 1) * whole] for at in range(3)
    )
    fields = list(HEADER.unpack(head))
    fields[5] = 2 * 65_536
    shorter = HEADER.pack(*fields)
    changed = {
        "cut": shorter + one + two,
        "swapped": head + two + one + three,
        "frame": head + one + one + three,
        "padded": data + b"\0",
    }[how]
    with pytest.raises(WrongBytes):
        second(scene, reader, replaced(scene, tmp_path, data, changed)).get(cid)


def signed_by(scene: Scene, account: Any, ring: dict[str, Any]) -> bytes:
    contracts = contracts_of(scene)
    text = contracts.typed(contracts.grants, "KeyRing", contracts.ring_message(ring))
    signature = account.sign_message(text).signature
    return canonical({**ring, "signature": "0x" + signature.hex()})


def changed_epoch(scene: Scene, ring: dict[str, Any]) -> bytes:
    return canonical({**ring, "epoch": ring["epoch"] + 1})


def changed_readers(scene: Scene, ring: dict[str, Any]) -> bytes:
    return canonical({**ring, "readers": [*ring["readers"], ring["readers"][0]]})


def another_context(scene: Scene, ring: dict[str, Any]) -> bytes:
    moved = {**ring, "epoch": ring["epoch"] + 1}
    return signed_by(scene, scene.theatre.parties.sponsor, moved)


def another_signer(scene: Scene, ring: dict[str, Any]) -> bytes:
    return signed_by(scene, Account.create(), ring)


def not_canonical(scene: Scene, ring: dict[str, Any]) -> bytes:
    return canonical(ring) + b" "


def one_key_more(scene: Scene, ring: dict[str, Any]) -> bytes:
    return canonical({**ring, "note": ""})


@pytest.mark.parametrize(
    "change",
    [changed_epoch, changed_readers, another_context, another_signer, not_canonical, one_key_more],
)
def test_it_ignores_a_changed_ring(
    scene: Scene, reader: Person, tmp_path: Path, change: Callable[[Scene, Any], bytes]
) -> None:
    public = "0x" + reader.reading.public.hex()
    known = second(scene, reader).keys
    for ring in rings_of(scene):
        if public in [one["publicKey"] for one in ring["readers"]]:
            old, new = canonical(ring), change(scene, ring)
            place = tmp_path / ring["key"]
            place.mkdir()
            left = second(scene, reader, replaced(scene, place, old, new)).keys
            assert known.keys() - left.keys() == {bytes.fromhex(ring["key"][2:])}


def test_wardround_reads_what_a_second_writer_wrote(
    scene: Scene, reader: Person, tmp_path: Path
) -> None:
    sponsor, contracts = scene.theatre.parties.sponsor, contracts_of(scene)
    key, content = os.urandom(32), os.urandom(70_000)
    epoch = scene.grants.epoch(scene.stage.study)
    account, name = reader.account.address.lower(), key_name(key)
    info = ring_info(contracts.study, epoch, name, account)
    ring = {
        "format": "wardround-keys/1",
        "study": "0x" + contracts.study.hex(),
        "epoch": epoch,
        "key": "0x" + name.hex(),
        "readers": [
            {
                "reader": account,
                "publicKey": "0x" + reader.reading.public.hex(),
                "wrapped": "0x" + wrap(key, reader.reading.public, info, os.urandom(32)).hex(),
            }
        ],
    }
    copy = Scene(scene.theatre, scene.grants, scene.stage, tmp_path)
    shutil.copytree(scene.folder / "objects", tmp_path / "objects")
    sealed = seal(content, contracts.study, epoch, key, os.urandom(32))
    for data in (signed_by(scene, sponsor, ring), sealed):
        (tmp_path / "objects" / cid_of(data)).write_bytes(data)
    # No index leads to them: it follows from the objects.
    assert copy.store(reader).get(cid_of(content)) == content
    with pytest.raises(ObjectSealed):
        copy.store(scene.person()).get(cid_of(content))
    (tmp_path / "objects" / cid_of(sealed)).unlink()
    broken = sealed[:-1] + bytes([sealed[-1] ^ 1])
    (tmp_path / "objects" / cid_of(broken)).write_bytes(broken)
    with pytest.raises(ObjectAltered):
        copy.store(reader).get(cid_of(content))


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_cids_are_those_of_wardround(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    assert cid_of(data[:size]) == wardround_cid_of(data[:size])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_canonical_json_is_that_of_wardround(value: Any) -> None:
    assert canonical(value) == canonical_bytes(value)


def test_keys_are_sorted_by_utf_16() -> None:
    assert canonical_bytes({"\uff61": 1, "\U0001f600": 2}) == '{"😀":2,"｡":1}'.encode()


def test_it_follows_a_journal_and_refuses_a_changed_one(tmp_path: Path) -> None:
    account, path = Account.create(), tmp_path / "journal.jsonl"
    balances = {account.address: 10**21}
    chain = EmbeddedChain("second-journal", Genesis(31337, 1_760_000_000, balances))
    journal = start_journaled(path, chain)
    for nonce in range(3):
        sent = {
            "to": account.address, "value": 1, "nonce": nonce, "gas": 21_000, "chainId": 31337,
            "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1,
        }  # fmt: skip
        raw = account.sign_transaction(sent).raw_transaction
        chain.rpc("eth_sendRawTransaction", "0x" + raw.hex())
    journal.close()
    chain.close()
    data = path.read_bytes()
    assert check_journal(data) == "0x" + read_journal(path).digest.hex()
    assert data.count(b"\n") == 4
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises((WrongBytes, ValueError, KeyError)):
            check_journal(bytes(changed))
    lines = data.splitlines(keepends=True)
    with pytest.raises(WrongBytes):
        check_journal(lines[0] + b"".join(lines[2:]))


def test_it_follows_a_guards_log_and_refuses_a_changed_one(tmp_path: Path) -> None:
    path = tmp_path / "guard.log"
    create_log(path, 5, site="0x" + "11" * 20)
    log = GuardLog(path, lambda: 7)
    log.append("refused", error="impostor", words="é", ask="")
    log.append("failed", study="0x" + "22" * 32, round=1, base="0x" + "33" * 32, of="train")
    log.close()
    data = path.read_bytes()
    assert [line["kind"] for line in check_guard_log(data)] == ["created", "refused", "failed"]
    first, middle, last = data.splitlines(keepends=True)
    for changed in (first + last, middle + last, first + middle.replace(b"7", b"8") + last):
        with pytest.raises(WrongBytes):
            check_guard_log(changed)


def test_gateway_takes_a_second_readers_request(scene: Scene, reader: Person) -> None:
    contracts = contracts_of(scene)
    study, cid = "0x" + contracts.study.hex(), cid_of(LONG)
    with gateway(scene) as url:
        for path in (f"/sealed/{study}/{cid}", f"/rings/{study}"):
            now = int(time.time())
            line = contracts.request(reader.account, "GET", path, b"", now, os.urandom(32))
            headers = {"Wardround-Request": line}
            assert httpx.get(url + path, headers=headers).status_code == 200
            assert httpx.get(url + path, headers=headers).status_code == 401, "made before"
            assert httpx.get(url + path).status_code == 400
        late = contracts.request(reader.account, "GET", path, b"", now - 61, os.urandom(32))
        assert httpx.get(url + path, headers={"Wardround-Request": late}).status_code == 401
        other = contracts.request(Account.create(), "GET", path, b"", now, os.urandom(32))
        assert httpx.get(url + path, headers={"Wardround-Request": other}).status_code == 403
