"""The journal: written by real chains, altered in every way, run again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.chain.conftest import CHAIN_ID, ETHER, GENESIS_SECONDS, World
from wardround.chain.chain import Chain, open_chain
from wardround.chain.contract import Contract
from wardround.chain.errors import ChainError, ContractReverted
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.errors import JournalAltered
from wardround.devchain.evm import Genesis
from wardround.devchain.journal import (
    Journal,
    logs_digest,
    read_journal,
    replay_journal,
    resume_journaled,
    start_journaled,
)
from wardround.devchain.journal_lines import sealed


def make_history(world: World, artifact: dict[str, Any]) -> Contract:
    """Deploy, count, fail, wait and pay: eight blocks."""
    chain = world.chain
    receipt = chain.deploy(world.alice, artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))
    assert receipt.contract_address is not None
    probe = Contract(artifact["abi"], receipt.contract_address)
    for n in range(3):
        chain.send(world.bob, probe.function("increment", bytes([n])), "increment")
    with pytest.raises(ContractReverted):
        chain.send(world.bob, probe.function("silent"), "silent")
    chain.advance(1000)
    until = chain.timestamp()
    chain.send(world.alice, probe.function("unlock", until, bytes(32)), "unlock")
    chain.transfer(world.alice, world.bob.address, ETHER)
    chain.advance(500)
    return probe


def facts(chain: Chain, probe: Contract) -> list[Any]:
    """What must be equal after a replay."""
    logs = [
        (log.address, log.topics, log.data, log.block_number) for log in chain.logs(probe.address)
    ]
    heads = [chain.block(number) for number in range(chain.block().number + 1)]
    return [
        logs,
        [(head.number, head.timestamp, head.transactions) for head in heads],
        chain.call(probe.function("count")),
        chain.call(probe.function("openedAt")),
    ]


def recorded(world: World, path: Path, artifact: dict[str, Any]) -> Contract:
    if isinstance(world.chain, EmbeddedChain):
        journal = start_journaled(path, world.chain)
        probe = make_history(world, artifact)
    else:
        probe = make_history(world, artifact)
        journal = Journal.create(path, world.genesis)
        journal.catch_up(world.chain)
        journal.catch_up(world.chain)
    assert journal.digest == read_journal(path).digest
    journal.close()
    journal.close()
    return probe


def test_replay_leads_to_the_same_chain(
    world: World, tmp_path: Path, probe_artifact: dict[str, Any]
) -> None:
    path = tmp_path / "journal.jsonl"
    probe = recorded(world, path, probe_artifact)
    again = replay_journal(path)
    try:
        assert facts(again, probe) == facts(world.chain, probe)
        assert open_chain("embedded:replay") is again
        for address in world.genesis.balances:
            assert again.balance_wei(address) == world.chain.balance_wei(address)
    finally:
        again.close()
    with pytest.raises(ChainError):
        open_chain("embedded:replay")


@pytest.fixture
def journal(tmp_path: Path, probe_artifact: dict[str, Any]) -> Path:
    alice, bob = Account.create(), Account.create()
    genesis = Genesis(
        CHAIN_ID, GENESIS_SECONDS, {alice.address: 1000 * ETHER, bob.address: 1000 * ETHER}
    )
    chain = EmbeddedChain("journaled", genesis)
    path = tmp_path / "journal.jsonl"
    kept = start_journaled(path, chain)
    make_history(World(chain, genesis, alice, bob), probe_artifact)
    kept.close()
    chain.close()
    return path


def test_lines_are_canonical_and_chained(journal: Path) -> None:
    lines = journal.read_bytes().splitlines()
    assert len(lines) == 9
    header = json.loads(lines[0])
    assert header["format"] == "wardround-journal/1"
    assert header["chainId"] == CHAIN_ID
    assert [json.loads(line)["index"] for line in lines[1:]] == list(range(8))
    assert [json.loads(line)["status"] for line in lines[1:]] == [1] * 8
    assert [json.loads(line)["raw"] for line in (lines[5], lines[8])] == ["0x", "0x"]


@pytest.mark.deep
def test_every_flipped_byte_is_found_on_its_line(journal: Path) -> None:
    data = journal.read_bytes()
    starts = [0, *(n + 1 for n, byte in enumerate(data) if byte == 0x0A)]
    long_line = max(range(len(starts) - 1), key=lambda n: starts[n + 1] - starts[n])
    for position, byte in enumerate(data):
        line = sum(start <= position for start in starts[1:]) + 1
        # The deployment's thousands of digits are alike: every sixteenth will do.
        if line == long_line + 1 and position % 16 and data[position - 1 : position] != b'"':
            continue
        altered = bytearray(data)
        altered[position] = byte ^ (1 << position % 8)
        journal.write_bytes(altered)
        with pytest.raises(JournalAltered) as caught:
            read_journal(journal)
        assert caught.value.line == line, f"byte {position}"
        with pytest.raises(JournalAltered):
            Journal.reopen(journal)


def test_line_left_out_or_swapped_is_found(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    for order in ([0, 2, 3], [0, 1, 3, 2], [1, 2], [0, 1, 1]):
        journal.write_bytes(b"".join(lines[n] for n in order))
        with pytest.raises(JournalAltered):
            read_journal(journal)


def test_line_cut_off_anywhere_is_truncated_and_mended(journal: Path) -> None:
    data = journal.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    for end in range(last + 1, len(data)):
        journal.write_bytes(data[:end])
        with pytest.raises(JournalAltered, match="ends inside a line") as caught:
            read_journal(journal)
        assert caught.value.line == 9
        again, content = Journal.reopen(journal)
        again.close()
        assert len(content.entries) == 7
        assert journal.read_bytes() == data[:last]


@pytest.mark.parametrize("data", [b"", b"{}", b"{}\n", b"[]\n", b'{"digest":"0x"}\n', b"\xff\n"])
def test_file_that_is_no_journal(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(data)
    with pytest.raises(JournalAltered) as caught:
        read_journal(path)
    assert caught.value.line == 1


def rewrite(path: Path, line: int, change: dict[str, Any]) -> None:
    """Forge a line and every digest after it, as an attacker who knows the format could."""
    documents = [json.loads(text) for text in path.read_bytes().splitlines()]
    documents[line - 1] |= change
    digest, out = bytes(32), b""
    for document in documents:
        del document["digest"]
        text, digest = sealed(document, digest)
        out += text
    path.write_bytes(out)


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (3, {"status": 0}),
        (4, {"logs": "0x" + logs_digest(()).hex()}),
        (4, {"raw": "0x02"}),
        (4, {"raw": "0x02c0"}),
        (7, {"timestamp": GENESIS_SECONDS}),
    ],
)
def test_forged_line_does_not_do_what_it_says(
    journal: Path, line: int, change: dict[str, Any]
) -> None:
    rewrite(journal, line, change)
    read_journal(journal)
    with pytest.raises(JournalAltered) as caught:
        replay_journal(journal)
    assert caught.value.line == line
    with pytest.raises(ChainError):
        open_chain("embedded:replay")


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (1, {"format": "wardround-journal/2"}),
        (1, {"more": 1}),
        (4, {"block": 7}),
        (4, {"index": 5}),
        (4, {"raw": "0xAB"}),
        (4, {"note": "hello"}),
    ],
)
def test_forged_form_is_refused_on_reading(journal: Path, line: int, change: dict) -> None:
    rewrite(journal, line, change)
    with pytest.raises(JournalAltered) as caught:
        read_journal(journal)
    assert caught.value.line == line


def test_resume_goes_on_where_the_chain_stopped(journal: Path) -> None:
    before = read_journal(journal)
    with journal.open("ab") as file:
        file.write(b'{"block":9,"dig')
    now = before.entries[-1].timestamp + 100
    chain, kept = resume_journaled(journal, "resumed", clock=lambda: now)
    assert chain.block().number == before.entries[-1].block
    chain.rpc("evm_mine")
    with pytest.raises(ChainError, match="another process appends"):
        Journal.reopen(journal)
    kept.close()
    chain.close()
    assert read_journal(journal).entries[:-1] == before.entries
    assert read_journal(journal).entries[-1].timestamp == now


def test_create_never_overwrites(journal: Path) -> None:
    before = journal.read_bytes()
    with pytest.raises(FileExistsError):
        Journal.create(journal, Genesis(1, 1, {}))
    assert journal.read_bytes() == before
    assert sorted(path.name for path in journal.parent.iterdir()) == ["journal.jsonl"]


WRITER = """
import sys
from pathlib import Path
from eth_account import Account
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.journal import start_journaled
alice = Account.create()
chain = EmbeddedChain("killed", Genesis(5, 1_760_000_000, {alice.address: 10**20}))
journal = start_journaled(Path(sys.argv[1]), chain)
while True:
    receipt = chain.transfer(alice, alice.address, 1)
    print(receipt.block_number, flush=True)
"""


def test_kill_loses_no_transaction_that_was_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer.stdout:
        confirmed = [int(writer.stdout.readline()) for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        confirmed += [int(line) for line in writer.stdout.read().split()]
    chain, kept = resume_journaled(path, "after the kill")
    assert chain.block().number >= confirmed[-1]
    kept.close()
    chain.close()
