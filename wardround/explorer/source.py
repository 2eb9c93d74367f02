"""The source of an index: a chain, the contract on it and a content store; live or finished."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wardround.audit.finished import open_run
from wardround.chain.chain import Chain, connected
from wardround.chain.court import Court
from wardround.chain.errors import RpcRefused
from wardround.chain.ward_round import WardRound
from wardround.protocol.errors import ScenarioError
from wardround.protocol.identifiers import StudyId, address_of, bytes32, hex_of
from wardround.store import FolderStore, Store, open_store
from wardround.store.confidential import ConfidentialStore
from wardround.store.study_store import PREFIX, open_study_store
from wardround.store.vault import LocalVault

#: Longest line of a rounds file that is read.
_STATEMENT_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A chain with its contract and content store.

    Attributes:
        name: for people: a folder or an address.
        store: None without one.
        first_block: not behind the contract's creation.
        live: whether more may come.
        labels: names of lower-case addresses, from a run's folder.
        statements: lines of the run's rounds files, by study and round; not on chain.
        journal: every transaction of a development chain, where there is one.
    """

    name: str
    chain: Chain
    ward: WardRound
    court: Court
    store: Store | None
    first_block: int
    live: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    statements: Mapping[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    journal: Path | None = None

    @property
    def contracts(self) -> dict[str, str]:
        """The contracts' names by their lower-case addresses."""
        return {self.ward.address.lower(): "WardRound", self.court.address.lower(): "Court"}

    @property
    def identity(self) -> dict[str, str]:
        """What tells an index of this source from others."""
        return {
            "chain_id": str(self.chain.chain_id),
            "contract": self.ward.address.lower(),
            "court": self.court.address.lower(),
        }


@contextmanager
def run_source(folder: Path, reading: Path | None = None) -> Iterator[Source]:
    """Open a run's folder; an embedded chain is executed again from its journal.

    Args:
        folder: the run's.
        reading: file of a reading key, for what is encrypted in the store.

    Raises:
        ScenarioError: this is no run's folder.
        JournalAltered: the journal is not the one that was written.
        ChainError: the run was on a chain that does not answer.
    """
    with open_run(folder, reading=reading) as run:
        labels = {address.lower(): name for name, address in run.file.sites.items()}
        yield Source(
            str(folder),
            run.chain,
            run.contract,
            Court(run.contract),
            run.store,
            first_block=0 if run.replayed is not None else _creation(run.chain, run.contract),
            live=run.replayed is None,
            labels=labels,
            statements=_statements(run.folders.all_rounds, hex_of(run.study), run.file.sites),
            journal=None if run.replayed is None else run.folders.journal,
        )


@contextmanager
def chain_source(
    url: str,
    contract: str,
    store: str | None = None,
    chain_id: int | None = None,
    first_block: int | None = None,
    study: str | None = None,
) -> Iterator[Source]:
    """Open a contract on a chain.

    Args:
        url: as for `wardround.chain.chain.open_chain`.
        contract: address of the WardRound.
        store: address of the content store.
        chain_id: refuse any other chain.
        first_block: not behind the contract's creation; looked for by default.
        study: the one that is looked at; a confidential store is one study's.

    Raises:
        ChainError: the chain does not answer.
        UnknownContract: the code of the contract is not known.
        Malformed: the contract's address is invalid.
    """
    with connected(url, chain_id) as chain:
        ward = WardRound.opened(chain, address_of(contract))
        first = _creation(chain, ward) if first_block is None else first_block
        opened = None
        if store is not None and not store.startswith(PREFIX):
            opened = open_store(store)
        elif store is not None and study is not None:
            opened = open_study_store(store, Path(), ward, StudyId(bytes32(study, "study")))
        elif store is not None:
            raise ScenarioError(store, "a confidential store is one study's: name the study's id")
        yield Source(url, chain, ward, Court(ward), opened, first, live=True)


def store_name(store: Store | None) -> str:
    """Name of a store; empty without one."""
    if isinstance(store, FolderStore):
        return str(store.folder)
    if isinstance(store, ConfidentialStore) and isinstance(store.vault, LocalVault):
        return f"{store_name(store.vault.store)}, encrypted"
    return "" if store is None else type(store).__name__


def _creation(chain: Chain, ward: WardRound) -> int:
    """The first block that has the contract's code; 0 where the node keeps no old state."""
    low, high = 0, chain.block().number
    try:
        while low < high:
            middle = (low + high) // 2
            if len(chain.rpc("eth_getCode", ward.address, hex(middle))) > 2:
                high = middle
            else:
                low = middle + 1
    except RpcRefused:
        return 0
    return low


def _statements(
    paths: Sequence[Path], study: str, sites: Mapping[str, str]
) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Read every ``rounds.jsonl``, the first one believed first; sites by address, not by name.

    Lines that cannot be read are left out.
    """
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    for path in reversed([one for one in paths if one.is_file()]):
        with path.open("rb") as file:
            for line in file:
                if len(line) > _STATEMENT_MAX_BYTES:
                    continue
                try:
                    document = json.loads(line)
                    number = document["round"]
                except (ValueError, TypeError, KeyError):
                    continue
                # Another coordinator may have closed the round that this attempt failed in.
                if isinstance(number, int) and "failed" not in document:
                    found[study, number] = _by_address(document, sites)
    return found


def _by_address(document: Mapping[str, Any], sites: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: {sites.get(name, name).lower(): one for name, one in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in document.items()
    }
