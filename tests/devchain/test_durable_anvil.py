"""A development chain that is killed in every way, and loses nothing that was answered."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.chain.conftest import CHAIN_ID, ETHER
from wardround.chain.blocks import Block
from wardround.chain.chain import Chain, open_chain
from wardround.chain.contract import Contract
from wardround.chain.errors import ChainError, RpcRefused
from wardround.devchain.anvil import find_anvil
from wardround.devchain.durable_anvil import CLOCK_FILE, JOURNAL_FILE, LEASE_FILE, DurableAnvil
from wardround.devchain.errors import AnvilMissing, JournalAltered
from wardround.devchain.evm import Genesis
from wardround.devchain.journal import read_journal, replay_journal
from wardround.devchain.journal_lines import sealed

ALICE = Account.from_key(b"\x11" * 32)
BOB = Account.from_key(b"\x12" * 32)
NOW = 1_790_000_000


@pytest.fixture(autouse=True)
def anvil_here() -> None:
    try:
        find_anvil()
    except AnvilMissing as error:
        pytest.skip(str(error))


def genesis() -> Genesis:
    return Genesis(CHAIN_ID, NOW, {who.address: 1000 * ETHER for who in (ALICE, BOB)})


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[DurableAnvil]:
    with DurableAnvil(tmp_path / "chain", genesis()) as running:
        yield running


def heads(chain: Chain) -> list[Block]:
    found = [chain.block(number) for number in range(chain.block().number + 1)]
    assert all(block.block_hash for block in found)
    return found


def deployed(chain: Chain, artifact: dict[str, Any]) -> Contract:
    receipt = chain.deploy(ALICE, artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))
    assert receipt.contract_address is not None
    return Contract(artifact["abi"], receipt.contract_address)


def test_hashes_come_out_equal_when_anvil_is_killed(
    durable: DurableAnvil, probe_artifact: dict[str, Any]
) -> None:
    chain = durable.chain
    probe = deployed(chain, probe_artifact)
    for n in range(3):
        chain.send(BOB, probe.function("increment", bytes([n])), "increment")
    chain.advance(1000)
    # Two transactions in one block, one of which fails.
    chain.rpc("evm_setAutomine", False)
    for signer, name in ((ALICE, "silent"), (BOB, "increment")):
        function = probe.function(name, *([b""] if name == "increment" else []))
        chain.rpc("eth_sendRawTransaction", signed(chain, signer, function.data, probe.address))
    chain.rpc("evm_mine")
    before = heads(chain)
    assert len(before[-1].transactions) == 2
    pid = durable.pid
    os.kill(pid, signal.SIGKILL)
    assert heads(chain) == before
    assert durable.pid != pid
    assert durable.restarts == 1
    durable.restart()
    assert heads(chain) == before
    assert chain.call(probe.function("count")) == 4
    # And it goes on.
    chain.send(BOB, probe.function("increment", b""), "increment")
    again = replay_journal(durable.journal_path)
    assert again.call(probe.function("count")) == 5
    again.close()


def signed(chain: Chain, signer: LocalAccount, data: bytes, to: str) -> str:
    nonce = int(chain.rpc("eth_getTransactionCount", signer.address, "latest"), 16)
    fields = {"chainId": CHAIN_ID, "nonce": nonce, "gas": 200_000, "value": 0, "data": data}
    fees = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1}
    return (
        "0x" + signer.sign_transaction({**fields, **fields, "to": to, **fees}).raw_transaction.hex()
    )


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_kills_at_random_moments_lose_nothing_and_do_nothing_twice(
    durable: DurableAnvil, probe_artifact: dict[str, Any], seed: int
) -> None:
    probe = deployed(durable.chain, probe_artifact)
    stop = threading.Event()
    confirmed: list[tuple[str, int]] = []
    failures: list[Exception] = []

    def work(signer: LocalAccount) -> None:
        chain = open_chain(durable.url, CHAIN_ID)
        try:
            while not stop.is_set():
                receipt = chain.send(signer, probe.function("increment", b""), "increment")
                assert receipt is not None
                confirmed.append((receipt.transaction_hash, receipt.block_number))
        except Exception as error:  # noqa: BLE001 - the test tells
            failures.append(error)
        finally:
            chain.close()

    senders = [threading.Thread(target=work, args=(who,)) for who in (ALICE, BOB)]
    for sender in senders:
        sender.start()
    chance = random.Random(seed)
    for _ in range(8):
        time.sleep(chance.uniform(0.02, 0.4))
        os.kill(durable.pid, signal.SIGKILL)
    before = len(confirmed)
    until(lambda: failures or len(confirmed) > before + 20)
    stop.set()
    for sender in senders:
        sender.join(60)
    assert failures == []
    assert durable.restarts >= 4  # two kills may meet the same process
    assert durable.chain.call(probe.function("count")) == len(confirmed)
    for transaction_hash, block_number in confirmed:
        receipt = durable.chain.receipt(transaction_hash)
        assert receipt is not None
        assert receipt.block_number == block_number
    before = heads(durable.chain)
    durable.restart()
    assert heads(durable.chain) == before


OWNER = """
import sys, time
from pathlib import Path
from eth_account import Account
from wardround.devchain.durable_anvil import DurableAnvil
from wardround.devchain.evm import Genesis
alice = Account.from_key(bytes([0x11]) * 32)
folder, now = Path(sys.argv[1]), int(sys.argv[2])
chain = DurableAnvil(folder, Genesis(31_337_001, now, {alice.address: 10**21}))
print(chain.pid, chain.url, flush=True)
while True:
    receipt = chain.chain.transfer(alice, alice.address, 1)
    print(receipt.block_number, receipt.block_hash, flush=True)
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs(pid: int) -> bool:
    # A process that ended is a zombie until its parent collects its status.
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_kill_of_everything_loses_no_confirmed_transaction(tmp_path: Path) -> None:
    folder = tmp_path / "chain"
    chance = random.Random(5)
    confirmed: dict[int, str] = {}
    for _ in range(3):
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder), str(NOW)], stdout=subprocess.PIPE, text=True
        )
        assert owner.stdout is not None
        with owner.stdout:
            anvil_pid = int(owner.stdout.readline().split()[0])
            said = [owner.stdout.readline() for _ in range(chance.randrange(3, 12))]
            time.sleep(chance.uniform(0, 0.02))
            owner.kill()  # anvil ends a moment later, or is ended by the next owner
            owner.wait()
            said += owner.stdout.read().splitlines()
        for line in said:
            number, block_hash = line.split()
            confirmed[int(number)] = block_hash
    with DurableAnvil(folder) as durable:
        assert not runs(anvil_pid)
        found = heads(durable.chain)
        assert {n: found[n].block_hash for n in confirmed} == confirmed
        assert max(confirmed) >= 9


def test_reorganisations_are_kept_too(durable: DurableAnvil) -> None:
    chain = durable.chain
    for value in range(1, 6):
        chain.transfer(ALICE, BOB.address, value)
    mark = chain.rpc("evm_snapshot")
    chain.transfer(ALICE, BOB.address, 100)
    chain.rpc("evm_revert", mark)
    chain.transfer(ALICE, BOB.address, 200)
    chain.rpc("anvil_reorg", 3, [])
    chain.transfer(BOB, ALICE.address, 1)
    chain.rpc("anvil_rollback", 2)
    chain.transfer(BOB, ALICE.address, 2)
    before, held = heads(chain), chain.balance_wei(ALICE.address)
    os.kill(durable.pid, signal.SIGKILL)
    assert heads(chain) == before
    assert chain.balance_wei(ALICE.address) == held
    again = replay_journal(durable.journal_path)
    assert again.balance_wei(ALICE.address) == held
    again.close()


def test_clock_that_was_moved_on_stays_so(durable: DurableAnvil) -> None:
    started = durable.chain.timestamp()
    assert durable.chain.rpc("evm_increaseTime", 5000) is not None
    os.kill(durable.pid, signal.SIGKILL)  # between the two steps of `advance`
    durable.chain.rpc("evm_mine")
    jumped = durable.chain.timestamp()
    assert jumped >= max(started, int(time.time())) + 5000
    durable.chain.rpc("evm_mine", hex(jumped + 70_000))
    durable.restart()
    durable.chain.rpc("evm_mine")
    assert durable.chain.timestamp() >= jumped + 70_000


def test_same_address_after_everything_starts_anew(tmp_path: Path) -> None:
    with DurableAnvil(tmp_path, genesis()) as first:
        url, port = first.url, int(first.url.rpartition(":")[2])
        first.chain.transfer(ALICE, BOB.address, 1)
        before = heads(first.chain)
    first.stop()
    with DurableAnvil(tmp_path, port=port) as second:
        assert second.url == url
        assert second.genesis.chain_id == CHAIN_ID
        assert heads(second.chain) == before


def test_copy_of_a_running_chain_is_a_backup(durable: DurableAnvil, tmp_path: Path) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            durable.chain.transfer(ALICE, BOB.address, 1)

    sender = threading.Thread(target=work)
    sender.start()
    until(lambda: durable.chain.block().number > 3)
    shutil.copytree(durable.journal_path.parent, tmp_path / "backup")
    stop.set()
    sender.join(30)
    with DurableAnvil(tmp_path / "backup") as restored:
        found = heads(restored.chain)
        assert len(found) > 1
        assert found == heads(durable.chain)[: len(found)]


def test_anvil_that_hangs_is_replaced(durable: DurableAnvil) -> None:
    durable.chain.transfer(ALICE, BOB.address, 1)
    before = heads(durable.chain)
    os.kill(durable.pid, signal.SIGSTOP)
    # Its threads stop one by one, and until then anvil may still answer.
    for task in Path(f"/proc/{durable.pid}/task").iterdir():
        deadline = time.monotonic() + 10
        while (task / "stat").read_text().rpartition(") ")[2][0] != "T":
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert heads(durable.chain) == before
    assert durable.restarts == 1


def test_one_process_a_folder(durable: DurableAnvil) -> None:
    with pytest.raises(ChainError, match="another process appends"):
        DurableAnvil(durable.journal_path.parent)
    assert durable.chain.block().number == 0


def test_taken_port_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            DurableAnvil(tmp_path, genesis(), port=taken.getsockname()[1])
    with DurableAnvil(tmp_path) as durable:
        assert durable.chain.block().number == 0


def test_no_chain_and_no_genesis(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DurableAnvil(tmp_path)


def reseal(path: Path, change: Any) -> None:
    """Rewrite the lines of a journal, with digests that fit."""
    documents = [json.loads(text) for text in path.read_bytes().splitlines()]
    documents = change(documents) or documents
    digest, out = bytes(32), b""
    for document in documents:
        document.pop("digest")
        text, digest = sealed(document, digest)
        out += text
    path.write_bytes(out)


def closed_chain(folder: Path) -> Path:
    """A chain of three blocks, the last one with two transactions."""
    with DurableAnvil(folder, genesis()) as durable:
        chain = durable.chain
        chain.transfer(ALICE, BOB.address, 1)
        chain.rpc("evm_mine")
        chain.rpc("evm_setAutomine", False)
        for signer in (ALICE, BOB):
            chain.rpc("eth_sendRawTransaction", signed(chain, signer, b"", ALICE.address))
        chain.rpc("evm_mine")
        return durable.journal_path


def test_block_whose_last_line_is_missing_was_never_told(tmp_path: Path) -> None:
    path = closed_chain(tmp_path)
    data = path.read_bytes()
    cut = data.rindex(b"\n", 0, -1) + 1
    for end in (cut, cut + 40):  # after a whole line, and within the next
        path.write_bytes(data[:end])
        with DurableAnvil(tmp_path) as durable:
            assert durable.chain.block().number == 2
            assert [entry.block for entry in read_journal(path).entries] == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1].update(timestamp=lines[1]["timestamp"] + 1),
        lambda lines: lines[1].update(baseFee="7"),
        lambda lines: lines[1].update(hash="0x" + "00" * 32),
        lambda lines: lines[1].update(raw="0x02c0"),
        lambda lines: [lines[1].pop(name) for name in ("hash", "baseFee")] and None,
    ],
)
def test_block_that_comes_out_otherwise_is_named(tmp_path: Path, change: Any) -> None:
    path = closed_chain(tmp_path)
    reseal(path, change)
    with pytest.raises(JournalAltered) as caught:
        DurableAnvil(tmp_path)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "change", [{"hash": "0x"}, {"hash": "0xAB", "baseFee": "1"}, {"baseFee": "01"}]
)
def test_seal_of_another_form_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    path = closed_chain(tmp_path)

    def changed(lines: list[dict[str, Any]]) -> None:
        if change == {"hash": "0x"}:
            del lines[1]["baseFee"]
        lines[1].update(change)

    reseal(path, changed)
    with pytest.raises(JournalAltered) as caught:
        read_journal(path)
    assert caught.value.line == 2


def test_clock_file_that_is_no_number(tmp_path: Path) -> None:
    closed_chain(tmp_path)
    (tmp_path / CLOCK_FILE).write_text("soon")
    with pytest.raises(JournalAltered, match="not a number"):
        DurableAnvil(tmp_path)


def test_journal_altered_while_it_runs_is_told_to_every_caller(durable: DurableAnvil) -> None:
    durable.chain.transfer(ALICE, BOB.address, 1)
    data = durable.journal_path.read_bytes()
    durable.journal_path.write_bytes(data.replace(b'"status":1', b'"status":0'))
    os.kill(durable.pid, signal.SIGKILL)
    with pytest.raises(RpcRefused, match="altered"):
        durable.chain.block()
    durable.journal_path.write_bytes(data)
    durable.restart()
    assert durable.chain.block().number == 1


@pytest.mark.parametrize(
    "method",
    ["anvil_setBalance", "evm_setIntervalMining", "hardhat_setCode", "eth_sendTransaction"],
)
def test_what_a_journal_cannot_repeat_is_refused(durable: DurableAnvil, method: str) -> None:
    with pytest.raises(RpcRefused, match="cannot be repeated"):
        durable.chain.rpc(method, ALICE.address, "0x1")


def asked(url: str, body: bytes) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        return json.load(answer)


def test_front_answers_bad_requests_with_errors(durable: DurableAnvil) -> None:
    request = {"jsonrpc": "2.0", "id": 7, "method": "eth_chainId"}
    assert asked(durable.url, json.dumps(request).encode()) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": hex(CHAIN_ID),
    }
    several = asked(durable.url, json.dumps([request, request | {"id": "x"}]).encode())
    assert [one["id"] for one in several] == [7, "x"]
    for body, code in [(b"hello", -32700), (b"[]", -32600), (b"5", -32600), (b"[1]", -32600)]:
        found = asked(durable.url, body)
        found = found[0] if isinstance(found, list) else found
        assert found["error"]["code"] == code
    bad = json.dumps(request | {"params": {"a": 1}}).encode()
    assert asked(durable.url, bad)["error"]["code"] == -32600
    unknown = json.dumps(request | {"method": "eth_nothing"}).encode()
    assert asked(durable.url, unknown)["error"]["code"] == -32602  # anvil's own


@pytest.mark.parametrize("length", [str(1 << 30), "-1", "x"])
def test_front_reads_nothing_of_unknown_or_absurd_length(
    durable: DurableAnvil, length: str
) -> None:
    connection = HTTPConnection(durable.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_stop_leaves_only_the_journal(tmp_path: Path) -> None:
    durable = DurableAnvil(tmp_path, genesis())
    idle = HTTPConnection(durable.url.removeprefix("http://"), timeout=10)
    idle.connect()
    pid = durable.pid
    durable.stop()
    durable.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    # Closed, in whichever of the two ways it reaches us.
    with closing(idle), suppress(ConnectionResetError):
        assert idle.sock.recv(1) == b""
    idle.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([JOURNAL_FILE, LEASE_FILE])
