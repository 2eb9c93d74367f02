"""A sponsor deploys code of its own that looks like WardRound: everybody refuses it by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from hexbytes import HexBytes

from tests.calling import Call
from wardround.audit.finished import note_journal, read_network
from wardround.audit.folders import Folders
from wardround.chain.artifacts import load_artifact
from wardround.chain.errors import UnknownContract
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.journal import Journal, read_journal, replay_journal
from wardround.host.key_file import read_key
from wardround_client.guard.chain import ChainReader
from wardround_client.settings import ChainTable
from wardround_coordinator.settings import CoordinatedStudyTable
from wardround_simulations.run import simulate
from wardround_simulations.scenario import load_scenario


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the code that wardround ships."""
    folder = tmp_path_factory.mktemp("honest") / "run"
    scenario, text = load_scenario("demo")
    study = scenario.study.model_copy(update={"rounds": 1})
    simulate(scenario.model_copy(update={"study": study}), text, folder)
    return folder


@pytest.fixture(scope="module")
def forged(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, as a sponsor would have made it whose WardRound differs in one byte."""
    folder = tmp_path_factory.mktemp("forged") / "run"
    shutil.copytree(honest, folder)
    folders = Folders(folder)
    content = read_journal(folders.journal)
    folders.journal.unlink()
    chain = EmbeddedChain("forging", content.genesis)
    journal = Journal.create(folders.journal, content.genesis)
    for number, block in groupby(content.entries, key=lambda entry: entry.block):
        entries = list(block)
        raws = [_altered(entry.raw, folder) for entry in entries if entry.raw]
        mined = chain.provider.repeat(entries[0].timestamp, raws)
        journal.record(number, entries[0].timestamp, mined)
    journal.close()
    chain.close()
    note_journal(folders)
    return folder


def _altered(raw: bytes, folder: Path) -> bytes:
    """Change the name of an error that no run meets, in the contract's code."""
    creation = load_artifact("WardRound").bytecode
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    if not bytes(fields["data"]).startswith(creation):
        return raw
    selector = keccak(text="WardRound_AlreadyBonded(bytes32,address)")[:4]
    assert creation.count(selector) == 1
    fields["data"] = creation.replace(selector, bytes(4)) + fields["data"][len(creation) :]
    fields = {key: one for key, one in fields.items() if key not in ("v", "r", "s", "yParity")}
    signed = Account.sign_transaction(fields, read_key(folder / "sponsor.key").key)
    return bytes(signed.raw_transaction)


@pytest.fixture
def chain(forged: Path) -> Iterator[EmbeddedChain]:
    opened = replay_journal(Folders(forged).journal, "forged")
    yield opened
    opened.close()


def test_run_of_ours_holds(call: Call, honest: Path) -> None:
    done = call("audit", honest)
    assert done.status == 0
    assert "All holds." in done.out


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "RUN"),
        ("claim", "RUN"),
        ("export", "RUN", "-o", "evidence.zip"),
        ("events", "RUN"),
        ("watch", "RUN", "--once"),
    ],
)
def test_run_with_other_code_is_refused(call: Call, forged: Path, command: tuple[str, ...]) -> None:
    done = call(*(str(forged) if word == "RUN" else word for word in command))
    assert done.status == 1
    assert "[contract-unknown]" in done.err
    assert "those of no known WardRound" in done.err
    assert "All holds." not in done.out


def test_guard_asks_no_contract_with_other_code(forged: Path, chain: EmbeddedChain) -> None:
    file = read_network(forged)
    table = ChainTable(
        endpoints=[chain.url], chain_id=file.chain_id, contract=file.contract.lower()
    )
    with pytest.raises(UnknownContract):
        ChainReader(table).ask(lambda ward: ward.court())


def test_coordinator_and_site_open_no_contract_with_other_code(
    forged: Path, chain: EmbeddedChain
) -> None:
    file = read_network(forged)
    study = CoordinatedStudyTable(
        chain=chain.url,
        chain_id=file.chain_id,
        contract=file.contract.lower(),
        id=file.study,
        sites=1,
    )
    with pytest.raises(UnknownContract), study.opened():
        pass
    with pytest.raises(UnknownContract), WardRound.at(chain.url, None, file.contract):
        pass
