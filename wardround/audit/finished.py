"""Open a finished run: its chain, run again from the journal, and its store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import urlencode

from pydantic import ConfigDict, Field

from wardround.audit.folders import Folders
from wardround.audit.plain_json import read_json
from wardround.chain.chain import Chain, connected
from wardround.chain.errors import ContractReverted, TransactionRefused
from wardround.chain.grants import Grants
from wardround.chain.ward_round import WardRound
from wardround.devchain.errors import JournalAltered
from wardround.devchain.journal import Journal, read_journal, replay_journal, resume_journaled
from wardround.host.durable import write_durably
from wardround.protocol.documents import Form, decode_text, validate_form
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.protocol.report import Address, Hex32
from wardround.protocol.version import FORMER, Protocol
from wardround.store import Store
from wardround.store.study_store import PREFIX, open_study_store


class NetworkFile(Form):
    """``network.json``: where a run's study is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Of the run; a file from before it was written here is another protocol's.
    protocol: Annotated[Protocol, Field(validate_default=True)] = cast(Protocol, FORMER)
    format: str
    scenario: str
    chain_id: Annotated[int, Field(ge=1)]
    chain: str
    contract: Address
    token: Address
    study: Hex32
    sites: dict[str, Address]
    journal: Hex32 | None = None
    #: The Grants contract, where the store is confidential.
    grants: Address | None = None


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder, opened."""

    folders: Folders
    file: NetworkFile
    chain: Chain
    contract: WardRound
    study: StudyId
    store: Store
    #: How many transactions the journal held; None when the chain itself was asked.
    replayed: int | None


def read_network(folder: Path) -> NetworkFile:
    """Read a run's ``network.json``.

    Raises:
        SpecificationError: this is no run's folder, or its file is malformed.
        ProtocolError: the run was made by another protocol; names it.
    """
    path = Folders(folder).network
    if not path.is_file():
        raise SpecificationError(folder, "this is not the folder of a run: network.json is missing")
    text = decode_text(path.read_bytes(), str(path))
    try:
        value = read_json(text)
    except (ValueError, RecursionError) as error:
        raise SpecificationError(path, f"not JSON: {error}") from error
    return validate_form(NetworkFile, value, "", str(path))


def run_store(
    folders: Folders, ward: WardRound, study: StudyId, grants: str | None, reading: Path | None
) -> Store:
    """Open a run's store.

    Args:
        folders: the run's.
        ward: the contract.
        study: the study.
        grants: address of the Grants contract, where the store is confidential.
        reading: file of a reading key, for what is encrypted there.

    Raises:
        SpecificationError: a key is given, and nothing is encrypted; or what the run names as its
            Grants contract is none of its studies.
        Malformed: there is no key in the file.
    """
    if grants is None:
        if reading is not None:
            reason = "nothing in its store is encrypted: leave the reading key out"
            raise SpecificationError(folders.root, reason)
        return open_study_store(folders.store.name, folders.root, ward, study)
    try:
        named = Grants(ward.chain, grants).ward_round()
    except (ContractReverted, TransactionRefused) as error:
        reason = f"no Grants contract: {error}".rstrip(".")
        raise SpecificationError(folders.network, reason, key="grants") from error
    if named != ward.address:
        reason = f"it is for studies of {named}, not of {ward.address}"
        raise SpecificationError(folders.network, reason, key="grants")
    settings = {"grants": grants}
    if reading is not None:
        settings["key"] = str(reading.absolute())
    address = f"{PREFIX}{folders.store.name}#{urlencode(settings)}"
    return open_study_store(address, folders.root, ward, study)


@contextmanager
def open_run(
    folder: Path, *, to_append: bool = False, reading: Path | None = None
) -> Iterator[FinishedRun]:
    """Open a run; its embedded chain is derived from the journal, not taken on trust.

    Args:
        folder: the run's.
        to_append: go on with the journal, so that new transactions are kept.
        reading: file of a reading key, for what is encrypted in the store.
    Raises:
        JournalAltered: a line is not the one that was written, or lines are missing.
        SpecificationError: this is no run's folder.
        ChainError: another chain answers at the run's endpoint.
        UnknownContract: the code of the run's contract is not known.
    """
    folders, file = Folders(folder), read_network(folder)
    study = StudyId(bytes32(file.study, "study"))
    with _chain_of(folders, file, to_append) as (chain, replayed):
        contract = WardRound.opened(chain, file.contract)
        with closing(run_store(folders, contract, study, file.grants, reading)) as store:
            yield FinishedRun(folders, file, chain, contract, study, store, replayed)


@contextmanager
def _chain_of(
    folders: Folders, file: NetworkFile, to_append: bool
) -> Iterator[tuple[Chain, int | None]]:
    """Open a run's chain, and count the transactions of its journal where there is one."""
    if not folders.journal.exists():
        if file.journal is not None or file.chain.startswith("embedded:"):
            raise SpecificationError(folders.journal, "this run had a journal, and it is missing")
        with connected(file.chain, file.chain_id) as live:
            yield live, None
        return
    if to_append:
        torn, content = Journal.reopen(folders.journal)  # drops a line that a crash cut off
        torn.close()
    else:
        content = read_journal(folders.journal)
    # A journal may have gone on since: a claim that was interrupted has not noted its end.
    if file.journal is not None and bytes32(file.journal, "journal") not in content.digests:
        reason = "it does not reach where the run ended: lines are missing"
        raise JournalAltered(str(folders.journal), len(content.entries) + 1, reason)
    name, journal = f"replay-{os.getpid()}-{time.monotonic_ns()}", None
    if to_append:
        chain, journal = resume_journaled(folders.journal, name)
    else:
        chain = replay_journal(folders.journal, name)
    try:
        yield chain, len(content.entries)
    finally:
        chain.close()
        if journal is not None:
            journal.close()
            note_journal(folders)


def note_journal(folders: Folders) -> None:
    """Keep the journal's last digest beside the network, so that missing lines are seen."""
    if not folders.journal.exists():
        return
    value = json.loads(folders.network.read_text(encoding="utf-8"))
    value["journal"] = "0x" + read_journal(folders.journal).digest.hex()
    write_durably(folders.network, json.dumps(value, indent=2) + "\n")
