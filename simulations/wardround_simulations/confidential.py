"""Make a network's store a confidential one: a Grants contract, reading keys, and who may read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eth_account.signers.local import LocalAccount

from wardround.audit.folders import Folders
from wardround.chain.grants import Grants
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import write_new_key
from wardround.protocol.identifiers import StudyId
from wardround.store.reading_key import write_new_reading_key
from wardround.store.study_store import PREFIX

#: In a coordinator's folder, and in the auditor's.
READING_KEY = "reading.key"
#: Beside the sponsor's key.
SPONSOR_READING_KEY = "sponsor-reading.key"
AUDITOR_KEY = "auditor.key"


def give_grants(
    contract: WardRound,
    study: StudyId,
    folders: Folders,
    sponsor: LocalAccount,
    coordinators: Sequence[LocalAccount],
) -> Grants:
    """Let the sponsor, every coordinator and an auditor read; make the keys for that.

    The study exists on chain, and so do the coordinators' folders; the active one is the first.
    """
    grants = Grants.deploy(contract.chain, sponsor, contract.address)
    folders.auditor.mkdir()
    readers: list[tuple[LocalAccount, Path]] = [
        (sponsor, folders.root / SPONSOR_READING_KEY),
        (write_new_key(folders.auditor / AUDITOR_KEY), folders.auditor / READING_KEY),
    ]
    for number, one in enumerate(coordinators):
        folder = folders.standby(number) if number else folders.coordinator
        readers.append((one, folder / READING_KEY))
    for account, file in readers:
        grants.grant(sponsor, study, account.address, write_new_reading_key(file).public)
    return grants


def confidential_address(store: str, grants: Grants) -> str:
    """How a coordinator's settings name the store; its reading key is beside them."""
    return f"{PREFIX}{store}#grants={grants.address}&key={READING_KEY}"
