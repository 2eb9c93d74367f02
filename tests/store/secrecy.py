"""A study whose store is confidential, and the people who may or may not read it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.chain.staged import Theatre
from wardround.audit.audit import StudyAudit
from wardround.chain.grants import Grants
from wardround.protocol.manifest import parse_manifest
from wardround.store import FolderStore, Store
from wardround.store.confidential import ConfidentialStore
from wardround.store.reading_key import ReadingKey, write_new_reading_key
from wardround.store.vault import LocalVault
from wardround_simulations.stage import Stage


@dataclass
class Person:
    account: LocalAccount
    reading: ReadingKey


@dataclass
class Scene:
    theatre: Theatre
    grants: Grants
    stage: Stage
    folder: Path
    #: Granted, and at work; where a test needs one.
    coordinator: Person | None = None

    def person(self, account: LocalAccount | None = None) -> Person:
        account = account or Account.create()
        path = self.folder / f"{account.address}.key"
        return Person(account, write_new_reading_key(path))

    def grant(self, person: Person) -> None:
        sponsor = self.theatre.parties.sponsor
        self.grants.grant(sponsor, self.stage.study, person.account.address, person.reading.public)

    def revoke(self, person: Person) -> None:
        self.grants.revoke(self.theatre.parties.sponsor, self.stage.study, person.account.address)

    def store(self, reader: Person | None = None, *, writes: bool = False) -> ConfidentialStore:
        """The store as a reader sees it, without any cache."""
        return ConfidentialStore(
            LocalVault(FolderStore(self.folder / "objects"), self.folder / "index"),
            self.theatre.ward,
            self.grants,
            self.stage.study,
            None if reader is None else reader.reading,
            reader.account if reader is not None and writes else None,
        )

    def audit(self, store: Store) -> int:
        work = StudyAudit(self.theatre.ward, self.stage.study, store)
        rounds = len(list(work.rounds()))
        work.check_objects()
        return rounds

    def objects(self) -> dict[str, bytes]:
        folder = FolderStore(self.folder / "objects")
        return {cid: folder.get(cid) for cid in folder.cids()}


def vectors(scene: Scene, number: int) -> list[str]:
    """The CIDs of a round's updates and model, from its public manifest."""
    closed = scene.theatre.ward.closed_rounds(scene.stage.study)[number - 1]
    digest = closed.closing.record.manifest
    for data in scene.objects().values():
        if sha256(data).digest() == digest:
            manifest = parse_manifest(data)
            return [row.update.cid for row in manifest.contributions] + [manifest.model.cid]
    raise AssertionError("the manifest is public")
