"""A study kept encrypted: what is on disk, who can read it, and what audits see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.staged import Theatre, theatre
from tests.store.secrecy import Person, Scene, vectors
from wardround.audit.audit import StudyAudit
from wardround.audit.public_audit import public_rounds
from wardround.chain.errors import ContractReverted
from wardround.chain.grants import Grantee, Grants
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.cid import cid_of
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import StudyId
from wardround.store import FolderStore, key_ring
from wardround.store.errors import (
    ObjectAltered,
    ObjectMissing,
    ObjectSealed,
    ObjectTooLarge,
    StoreError,
)
from wardround.store.key_ring import is_ring, make_ring
from wardround.store.sealing import is_sealed, read_header
from wardround.store.study_store import open_study_store


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("confidential")) as found:
        yield found


@pytest.fixture
def scene(opened: Theatre, tmp_path: Path) -> Scene:
    grants = Grants.deploy(opened.ward.chain, opened.stranger, opened.ward.address)
    stage = opened.stage(rounds=3)
    # The specification, and the initial model, which follows from it.
    shutil.copytree(stage.store.folder, tmp_path / "objects")
    return Scene(opened, grants, stage, tmp_path)


@pytest.fixture
def coordinator(scene: Scene) -> Person:
    """The first coordinator, granted, at work on the confidential store."""
    person = scene.person(scene.theatre.parties.first)
    scene.grant(person)
    scene.stage.store = scene.store(person, writes=True)  # type: ignore[assignment]
    return person


def test_nothing_confidential_is_on_the_disk(scene: Scene, coordinator: Person) -> None:
    before = set(scene.objects())
    scene.stage.close(coordinator.account)
    store = scene.store(coordinator)
    names = vectors(scene, 1)
    contents = [store.get(cid) for cid in names]
    assert len(contents) == len(scene.stage.sites) + 1
    everything = b"".join(
        path.read_bytes() for path in sorted(scene.folder.rglob("*")) if path.is_file()
    )
    for content in contents:
        assert len(content) > 64
        for start in range(0, len(content) - 16, 16):
            # Sixteen zero bytes are in any file.
            if any(content[start : start + 16]):
                assert content[start : start + 16] not in everything
    new = [data for cid, data in scene.objects().items() if cid not in before]
    assert sum(is_sealed(data) for data in new) == len(contents)
    assert sum(is_ring(data) for data in new) == 1
    # The rest is public: reports and the manifest.
    others = [data for data in new if not is_sealed(data) and not is_ring(data)]
    assert len(others) == len(scene.stage.sites) + 1


def test_reader_without_a_grant_sees_digests_only(scene: Scene, coordinator: Person) -> None:
    scene.stage.close(coordinator.account)
    for reader in (None, scene.person()):
        store = scene.store(reader)
        for cid in vectors(scene, 1):
            assert store.has(cid)
            with pytest.raises(ObjectSealed) as caught:
                store.get(cid)
            assert f"object {cid} is encrypted" in str(caught.value)
            assert "grant" in str(caught.value)
        with pytest.raises(ObjectSealed):
            scene.audit(store)
        # What is public is read as ever.
        assert StudyAudit(scene.theatre.ward, scene.stage.study, store).spec == scene.stage.spec


def test_what_is_public_after_rounds_that_others_audited_holds(
    scene: Scene, coordinator: Person
) -> None:
    """It starts from their last model's root, not from the study's first."""
    for _ in range(2):
        scene.stage.close(coordinator.account)
    work = StudyAudit(scene.theatre.ward, scene.stage.study, scene.store(), 2)
    (public,) = public_rounds(work)
    assert public.closed.round == 2
    assert len(public.unread) == len(scene.stage.sites) + 1


def test_reader_with_a_grant_audits_all_of_it(scene: Scene, coordinator: Person) -> None:
    scene.stage.close(coordinator.account)
    early, late = scene.person(), scene.person()
    scene.grant(early)
    scene.stage.close(coordinator.account)
    assert scene.audit(scene.store(early)) == 2
    # Granted after everything was written: the next who writes, or syncs, lets him in.
    scene.grant(late)
    with pytest.raises(ObjectSealed):
        scene.audit(scene.store(late))
    scene.store(coordinator, writes=True).sync()
    assert scene.audit(scene.store(late)) == 2


def test_revoked_reader_cannot_read_what_came_after(scene: Scene, coordinator: Person) -> None:
    reader = scene.person()
    scene.grant(reader)
    scene.stage.close(coordinator.account)
    scene.revoke(reader)
    scene.stage.close(coordinator.account)
    store = scene.store(reader)
    for cid in vectors(scene, 1):
        assert store.get(cid)  # what he could read before cannot be taken back
    for cid in vectors(scene, 2):
        with pytest.raises(ObjectSealed) as caught:
            store.get(cid)
        assert "(epoch 2)" in str(caught.value)
    # Not by his key either, in any ring of the new epoch.
    for data in scene.objects().values():
        if is_ring(data) and b'"epoch":2' in data:
            assert reader.reading.public.hex() not in data.decode()
    assert scene.audit(scene.store(coordinator)) == 2
    # Granted again he is given all keys.
    scene.grant(reader)
    scene.store(coordinator, writes=True).sync()
    assert scene.audit(scene.store(reader)) == 2


def test_standby_goes_on_where_the_first_stopped(scene: Scene, coordinator: Person) -> None:
    standby = scene.person(scene.theatre.parties.standby)
    scene.grant(standby)
    scene.stage.close(coordinator.account)
    store = scene.store(standby, writes=True)
    epoch, key = store.sync()
    assert (epoch, key) == scene.store(coordinator, writes=True).sync()
    cid = store.put(b"\x01" * 500)
    assert scene.store(coordinator).get(cid) == b"\x01" * 500


def test_reading_key_that_is_lost_is_replaced(scene: Scene, coordinator: Person) -> None:
    sponsor = scene.person(scene.theatre.parties.sponsor)
    scene.grant(sponsor)
    scene.stage.close(coordinator.account)
    (scene.folder / f"{coordinator.account.address}.key").unlink()
    scene.revoke(coordinator)
    again = scene.person(coordinator.account)
    with pytest.raises(ObjectSealed):
        scene.store(again, writes=True).sync()
    scene.grant(again)
    with pytest.raises(ObjectSealed):  # no writer has handed over the earlier keys
        scene.store(again).get(vectors(scene, 1)[0])
    scene.store(sponsor, writes=True).sync()
    scene.stage.store = scene.store(again, writes=True)  # type: ignore[assignment]
    scene.stage.close(coordinator.account)
    assert scene.audit(scene.store(again)) == 2


def test_backup_of_objects_alone_is_enough(scene: Scene, coordinator: Person) -> None:
    scene.stage.close(coordinator.account)
    shutil.copytree(scene.folder / "objects", scene.folder / "backup")
    shutil.rmtree(scene.folder / "objects")
    shutil.rmtree(scene.folder / "index")
    shutil.copytree(scene.folder / "backup", scene.folder / "objects")
    scene.stage.store = scene.store(coordinator, writes=True)  # type: ignore[assignment]
    scene.stage.close(coordinator.account)
    assert scene.audit(scene.store(coordinator)) == 2


def test_only_sponsor_and_coordinators_with_a_grant_may_write(scene: Scene) -> None:
    stranger = scene.person()
    scene.grant(stranger)
    coordinator = scene.person(scene.theatre.parties.first)
    for person in (stranger, coordinator):
        with pytest.raises(ObjectSealed) as caught:
            scene.store(person, writes=True).put(b"\x01" * 100)
        assert str(caught.value).startswith(f"{person.account.address} has no grant")
    with pytest.raises(ObjectSealed):
        scene.store(stranger).put(b"\x01" * 100)
    assert not any(is_sealed(data) for data in scene.objects().values())


def test_ring_of_a_stranger_counts_for_nothing(scene: Scene, coordinator: Person) -> None:
    """Else he would choose the key that the next writer uses."""
    stranger = scene.person()
    key = b"\x07" * 32
    ring = make_ring(
        scene.stage.study,
        1,
        key,
        scene.grants.readers(scene.stage.study),
        stranger.account,
        scene.grants.domain,
    )
    FolderStore(scene.folder / "objects").put(ring)
    assert scene.store(coordinator, writes=True).sync()[1] != key


@pytest.mark.parametrize("when", ["before", "after"])
def test_ring_of_a_revoked_coordinator_is_not_written_with(
    scene: Scene, coordinator: Person, when: str
) -> None:
    """He is one still, so the contract names him; he would read what he was shut out from."""
    revoked = scene.person(scene.theatre.parties.standby)
    scene.grant(revoked)
    study, key = scene.stage.study, b"\x07" * 32

    def plant(epoch: int) -> None:
        readers = scene.grants.readers(study)
        ring = make_ring(study, epoch, key, readers, revoked.account, scene.grants.domain)
        scene.store().vault.keep_ring(scene.stage.study, ring)

    store = scene.store(coordinator, writes=True)
    if when == "before":
        plant(epoch=2)
        # Nor may another's signature come under it meanwhile.
        store.sync()
    scene.revoke(revoked)
    if when == "after":
        plant(epoch=2)
    for writer in (store, scene.store(coordinator, writes=True)):
        epoch, found = writer.sync()
        assert epoch == 2
        assert found != key
    scene.stage.close(coordinator.account)
    for cid in vectors(scene, 1):
        with pytest.raises(ObjectSealed):
            scene.store(revoked).get(cid)


def test_earlier_key_is_not_taken_for_todays(scene: Scene, coordinator: Person) -> None:
    """A revoked coordinator has the first epoch's key, and publishes it as the second's."""
    revoked = scene.person(scene.theatre.parties.standby)
    scene.grant(revoked)
    _, first = scene.store(coordinator, writes=True).sync()
    scene.revoke(revoked)
    study = scene.stage.study
    readers = scene.grants.readers(study)
    ring = make_ring(study, 2, first, readers, revoked.account, scene.grants.domain)
    scene.store().vault.keep_ring(scene.stage.study, ring)
    assert scene.store(coordinator, writes=True).sync()[1] != first


def test_wrapped_key_that_does_not_open_is_given_again(
    scene: Scene, coordinator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring of a revoked coordinator claims that a reader has the key already."""
    revoked, reader = scene.person(scene.theatre.parties.standby), scene.person()
    scene.grant(revoked)
    _, first = scene.store(coordinator, writes=True).sync()
    scene.stage.close(coordinator.account)
    scene.revoke(revoked)
    scene.grant(reader)
    named = [Grantee(reader.account.address, reader.reading.public)]
    with monkeypatch.context() as patched:
        patched.setattr(key_ring, "wrap", lambda *_: b"\0" * 80)
        ring = make_ring(scene.stage.study, 1, first, named, revoked.account, scene.grants.domain)
    scene.store().vault.keep_ring(scene.stage.study, ring)
    scene.store(coordinator, writes=True).sync()
    assert scene.audit(scene.store(reader)) == 1


def test_who_is_revoked_while_a_writer_looks_is_not_given_the_new_key(
    scene: Scene, coordinator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = scene.person()
    scene.grant(reader)
    store = scene.store(coordinator, writes=True)
    asked = scene.grants.readers

    def revoked_meanwhile(study: StudyId) -> list[Grantee]:
        found = asked(study)
        scene.revoke(reader)
        monkeypatch.undo()
        return found

    monkeypatch.setattr(scene.grants, "readers", revoked_meanwhile)
    store.sync()
    scene.stage.close(coordinator.account)
    for cid in vectors(scene, 1):
        with pytest.raises(ObjectSealed):
            scene.store(reader).get(cid)


def test_index_that_is_lost_is_found_again(scene: Scene, coordinator: Person) -> None:
    scene.stage.close(coordinator.account)
    names = sorted(scene.store(coordinator).cids())
    shutil.rmtree(scene.folder / "index")
    assert scene.audit(scene.store(coordinator)) == 1
    shutil.rmtree(scene.folder / "index")
    assert sorted(scene.store(coordinator).cids()) == names


def test_put_twice_is_one_object_and_mends_a_damaged_one(scene: Scene, coordinator: Person) -> None:
    store = scene.store(coordinator, writes=True)
    data = b"\x02" * 300_000
    cid = store.put(data)
    count = len(scene.objects())
    assert store.put(data) == cid == cid_of(data)
    assert len(scene.objects()) == count
    (sealed,) = [name for name, found in scene.objects().items() if is_sealed(found)]
    path = scene.folder / "objects" / sealed
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ObjectMissing):
        scene.store(coordinator).get(cid)
    assert scene.store(coordinator, writes=True).put(data) == cid
    assert scene.store(coordinator).get(cid) == data


def test_sealed_object_of_another_content_is_not_taken(scene: Scene, coordinator: Person) -> None:
    """A writer that lies: the frames open, and the content has another CID."""
    from wardround.store.sealing import seal

    store = scene.store(coordinator, writes=True)
    epoch, key = store.sync()
    wanted = cid_of(b"wanted")
    false = seal(memoryview(b"unwanted"), wanted, scene.stage.study, epoch, key)
    store.vault.keep_sealed(scene.stage.study, wanted, false)
    with pytest.raises(ObjectAltered) as caught:
        scene.store(coordinator).get(wanted)
    assert caught.value.found == cid_of(b"unwanted")


def test_object_longer_than_allowed_is_not_opened(scene: Scene, coordinator: Person) -> None:
    store = scene.store(coordinator, writes=True)
    cid = store.put(b"\x03" * 1000)
    assert store.get(cid, 1000) == b"\x03" * 1000
    with pytest.raises(ObjectTooLarge):
        store.get(cid, 999)


def test_documents_stay_in_the_clear(scene: Scene, coordinator: Person) -> None:
    store = scene.store(coordinator, writes=True)
    cid = store.put(canonical_bytes({"round": 1}))
    assert scene.store().get(cid) == b'{"round":1}'
    assert not scene.store().has(cid_of(b"never put"))
    with pytest.raises(Malformed):
        scene.store().get("../secret")


def test_sealed_objects_and_rings_have_no_names_of_their_own(
    scene: Scene, coordinator: Person
) -> None:
    store = scene.store(coordinator, writes=True)
    store.put(b"\x04" * 100)
    for name, data in scene.objects().items():
        if is_sealed(data) or is_ring(data):
            with pytest.raises(ObjectMissing):
                store.get(name)
            assert name not in set(store.cids())


def test_grants_are_the_sponsors_alone(scene: Scene) -> None:
    reader = scene.person()
    with pytest.raises(ContractReverted) as caught:
        scene.grants.grant(
            scene.theatre.stranger, scene.stage.study, reader.account.address, b"\x01" * 32
        )
    assert caught.value.name == "Grants_NotSponsor"
    scene.grant(reader)
    sponsor, study = scene.theatre.parties.sponsor, scene.stage.study
    # Again, as after a crash: nothing is sent.
    assert scene.grants.grant(sponsor, study, reader.account.address, reader.reading.public) is None
    assert [one.account for one in scene.grants.readers(study)] == [reader.account.address]
    assert scene.grants.is_granted(study, reader.account.address)
    assert scene.grants.ward_round() == scene.theatre.ward.address
    scene.revoke(reader)
    assert scene.grants.revoke(sponsor, study, reader.account.address) is None
    assert scene.grants.epoch(study) == 2


def test_address_of_a_store_says_all_of_it(scene: Scene, coordinator: Person) -> None:
    ward, study = scene.theatre.ward, scene.stage.study
    key = f"{coordinator.account.address}.key"
    address = f"confidential:objects#grants={scene.grants.address}&key={key}"
    store = open_study_store(address, scene.folder, ward, study, coordinator.account)
    cid = store.put(b"\x05" * 100)
    assert read_header(scene.objects()[next(iter(_sealed(scene)))]).cid == cid
    reader = open_study_store(address, scene.folder, ward, study)
    assert reader.get(cid) == b"\x05" * 100
    public = open_study_store(
        f"confidential:objects#grants={scene.grants.address}", scene.folder, ward, study
    )
    with pytest.raises(ObjectSealed):
        public.get(cid)
    plain = open_study_store("objects", scene.folder, ward, study)
    assert isinstance(plain, FolderStore)
    assert plain.folder == scene.folder / "objects"


def _sealed(scene: Scene) -> list[str]:
    return [name for name, data in scene.objects().items() if is_sealed(data)]


@pytest.mark.parametrize(
    "address",
    [
        "confidential:",
        "confidential:objects",
        "confidential:objects#key=x",
        "confidential:objects#grants=0x1111111111111111111111111111111111111111&hello=1",
        "confidential:s3://x#grants=0x1111111111111111111111111111111111111111",
    ],
)
def test_address_that_says_too_little_or_too_much(scene: Scene, address: str) -> None:
    with pytest.raises(StoreError, match="is no store's address"):
        open_study_store(address, scene.folder, scene.theatre.ward, scene.stage.study)
