"""Transactions that vanish, hang, cost too much, or were left behind: each happens once."""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.chain.conftest import CHAIN_ID, ETHER, GENESIS_SECONDS
from wardround.audit.audit import StudyAudit
from wardround.chain import delivery
from wardround.chain.chain import Chain, open_chain
from wardround.chain.contract import Contract
from wardround.chain.errors import ContractReverted, TransactionRefused, TransactionTimedOut
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.anvil import Anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.protocol.errors import Retryable, StudyMismatch
from wardround.protocol.record import Recording, RuleId
from wardround_simulations.stage import BOND, REWARD, Parties, Stage, specification

ALICE = Account.from_key(b"\x31" * 32)
BOB = Account.from_key(b"\x32" * 32)
GWEI = 10**9


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "_RECEIPT_LAG_SECONDS", 0.3)


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    genesis = Genesis(
        CHAIN_ID, GENESIS_SECONDS, {who.address: 1000 * ETHER for who in (ALICE, BOB)}
    )
    try:
        running = Anvil(genesis)
    except AnvilMissing as error:
        pytest.skip(str(error))
    with running:
        yield running


@pytest.fixture
def probe(anvil: Anvil, probe_artifact: dict[str, Any]) -> Contract:
    code = bytes.fromhex(probe_artifact["bytecode"][2:])
    receipt = anvil.chain.deploy(BOB, probe_artifact["abi"], code)
    assert receipt.contract_address is not None
    anvil.chain.rpc("anvil_mine", "0x4")
    return Contract(probe_artifact["abi"], receipt.contract_address)


@contextmanager
def other(anvil: Anvil, confirmations: int = 0, timeout_seconds: float = 20) -> Iterator[Chain]:
    """The chain as another process sees it; `anvil.chain` stays the test's own hand."""
    chain = open_chain(f"{anvil.url}#confirmations={confirmations}", CHAIN_ID, timeout_seconds)
    try:
        yield chain
    finally:
        chain.close()


class Sending:
    """A `send` under way in a thread."""

    def __init__(self, chain: Chain, probe: Contract, unless: Callable[[], bool] | None = None):
        self.receipt: Any = None
        self.error: Exception | None = None
        self._work = lambda: chain.send(
            ALICE, probe.function("increment", b""), "increment", unless
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.receipt = self._work()
        except Exception as error:  # noqa: BLE001 - the test tells
            self.error = error

    @property
    def ended(self) -> bool:
        self._thread.join(0.3)
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.receipt


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def waiting(anvil: Anvil, signer: LocalAccount = ALICE) -> dict[str, Any]:
    """Transactions of a sender in the pool, by nonce."""
    pool = anvil.chain.rpc("txpool_content")["pending"]
    return pool.get(signer.address, {}) | pool.get(signer.address.lower(), {})


def count(anvil: Anvil, probe: Contract) -> int:
    return anvil.chain.call(probe.function("count"))


# ---------------------------------------------------------------- confirmations


def test_receipt_comes_only_after_the_confirmations(anvil: Anvil, probe: Contract) -> None:
    with other(anvil, confirmations=3) as chain:
        sending = Sending(chain, probe)
        until(lambda: count(anvil, probe) == 1)
        for _ in range(2):
            anvil.chain.rpc("evm_mine")
        assert not sending.ended
        # What is not confirmed is not seen either.
        assert chain.call(probe.function("count")) == 0
        assert len(chain.logs(probe.address)) == 0
        anvil.chain.rpc("evm_mine")
        receipt = sending.result()
        assert receipt.block_number + 3 == anvil.chain.block().number
        assert chain.call(probe.function("count")) == 1
        assert len(chain.logs(probe.address)) == 1


def test_none_are_needed_on_a_chain_of_ones_own(anvil: Anvil, probe: Contract) -> None:
    with other(anvil) as chain:
        receipt = chain.send(ALICE, probe.function("increment", b""), "increment")
        assert receipt is not None
        assert receipt.block_number == anvil.chain.block().number


@pytest.mark.parametrize("way", ["reorg", "snapshot", "rollback"])
def test_transaction_that_vanished_is_sent_again_and_happens_once(
    anvil: Anvil, probe: Contract, way: str
) -> None:
    mine = lambda: anvil.chain.rpc("evm_mine")  # noqa: E731
    mark = anvil.chain.rpc("evm_snapshot")
    with other(anvil, confirmations=3) as chain:
        sending = Sending(chain, probe)
        until(lambda: count(anvil, probe) == 1)
        mine()
        first = anvil.chain.block(anvil.chain.block().number - 1)
        if way == "reorg":
            anvil.chain.rpc("anvil_reorg", 2, [])
        elif way == "snapshot":
            anvil.chain.rpc("evm_revert", mark)
        else:
            anvil.chain.rpc("anvil_rollback", 2)
        until(lambda: count(anvil, probe) == 1)
        for _ in range(3):
            mine()
        receipt = sending.result()
        assert receipt.block_hash != first.block_hash
        assert count(anvil, probe) == 1
        assert anvil.chain.receipt(receipt.transaction_hash) == receipt


def test_work_that_is_there_but_not_confirmed_is_waited_for_not_sent_again(
    anvil: Anvil, probe: Contract
) -> None:
    """As after a restart: an earlier process has sent it."""
    with other(anvil, confirmations=2) as chain:
        done = lambda: chain.call(probe.function("count")) >= 1  # noqa: E731
        anvil.chain.send(ALICE, probe.function("increment", b""), "increment")
        sending = Sending(chain, probe, unless=done)
        assert not sending.ended
        anvil.chain.rpc("anvil_mine", "0x2")
        assert sending.result() is None
        assert count(anvil, probe) == 1


def test_work_that_vanished_while_waited_for_is_done(anvil: Anvil, probe: Contract) -> None:
    with other(anvil, confirmations=2) as chain:
        done = lambda: chain.call(probe.function("count")) >= 1  # noqa: E731
        anvil.chain.send(ALICE, probe.function("increment", b""), "increment")
        sending = Sending(chain, probe, unless=done)
        assert not sending.ended
        anvil.chain.rpc("anvil_rollback", 1)
        until(lambda: count(anvil, probe) == 1)
        anvil.chain.rpc("anvil_mine", "0x2")
        sending.result()
        assert count(anvil, probe) == 1


def test_transaction_behind_one_that_was_undone_is_not_waited_for(
    anvil: Anvil, probe: Contract
) -> None:
    """It has the next nonce, so it hangs until the one before is sent again by its caller."""
    with other(anvil, timeout_seconds=60) as chain:
        anvil.chain.send(ALICE, probe.function("increment", b""), "increment")
        anvil.chain.rpc("evm_setAutomine", False)
        sending = Sending(chain, probe)
        until(lambda: waiting(anvil))
        anvil.chain.rpc("anvil_rollback", 1)
        anvil.chain.rpc("anvil_dropAllTransactions")
        assert count(anvil, probe) == 0
        started = time.monotonic()
        with pytest.raises(TransactionTimedOut, match="undid an earlier transaction"):
            sending.result()
        assert time.monotonic() - started < 15
        anvil.chain.rpc("evm_setAutomine", True)
        chain.send(ALICE, probe.function("increment", b""), "increment")
        until(lambda: count(anvil, probe) >= 1)


def test_time_runs_out_only_while_the_chain_stands_still(anvil: Anvil, probe: Contract) -> None:
    with other(anvil, confirmations=4, timeout_seconds=1) as chain:
        sending = Sending(chain, probe)
        for _ in range(4):
            until(lambda: not sending.ended)
            time.sleep(0.3)
            anvil.chain.rpc("evm_mine")
        assert sending.result().block_number > 0
        with pytest.raises(TransactionTimedOut):
            Sending(chain, probe).result()


def test_failure_is_told_only_when_it_is_confirmed(anvil: Anvil, probe: Contract) -> None:
    """Two send the same; the second is mined and fails, and its error has the reason."""
    with other(anvil, confirmations=1) as chain:
        until_seconds = anvil.chain.timestamp() + 10**6
        anvil.chain.rpc("evm_setAutomine", False)
        anvil.chain.rpc("evm_setNextBlockTimestamp", until_seconds)
        errors: list[Exception] = []

        def work() -> None:
            try:
                chain.send(ALICE, probe.function("unlock", until_seconds, bytes(32)), "unlock")
            except Exception as error:  # noqa: BLE001 - the test tells
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: waiting(anvil))
        anvil.chain.rpc("evm_setTime", anvil.chain.timestamp() + 1)
        anvil.chain.rpc("evm_setNextBlockTimestamp", anvil.chain.timestamp() + 1)
        anvil.chain.rpc("evm_mine")
        thread.join(0.5)
        assert thread.is_alive()
        anvil.chain.rpc("evm_mine")
        thread.join(10)
        assert isinstance(errors[0], ContractReverted)


# ---------------------------------------------------------------- forgotten and hanging


def test_transaction_that_the_pool_dropped_is_sent_again(anvil: Anvil, probe: Contract) -> None:
    anvil.chain.rpc("evm_setAutomine", False)
    with other(anvil) as chain:
        sending = Sending(chain, probe)
        first = until(lambda: waiting(anvil))
        (transaction,) = first.values()
        anvil.chain.rpc("anvil_dropTransaction", transaction["hash"])
        until(lambda: waiting(anvil))
        anvil.chain.rpc("evm_mine")
        assert sending.result().transaction_hash == transaction["hash"]
    assert count(anvil, probe) == 1


def test_transaction_that_hangs_is_replaced_by_one_that_pays_more(
    anvil: Anvil, probe: Contract
) -> None:
    anvil.chain.rpc("evm_setAutomine", False)
    with other(anvil) as chain:
        chain.bump_seconds = 0.2
        sending = Sending(chain, probe)
        (first,) = until(lambda: waiting(anvil)).values()
        (second,) = until(
            lambda: [one for one in waiting(anvil).values() if one["hash"] != first["hash"]]
        )
        assert second["nonce"] == first["nonce"]
        for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
            assert int(second[fee], 16) * 8 >= int(first[fee], 16) * 9
        chain.bump_seconds = 1000
        anvil.chain.rpc("evm_mine")
        assert sending.result().status == 1
    assert count(anvil, probe) == 1


def test_base_fee_that_rose_is_paid(anvil: Anvil, probe: Contract) -> None:
    anvil.chain.rpc("evm_setAutomine", False)
    with other(anvil) as chain:
        chain.bump_seconds = 0.3
        sending = Sending(chain, probe)
        (first,) = until(lambda: waiting(anvil)).values()
        base = 3 * int(first["maxFeePerGas"], 16)
        anvil.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(base))
        anvil.chain.rpc("evm_mine")
        assert count(anvil, probe) == 0
        until(
            lambda: [one for one in waiting(anvil).values() if int(one["maxFeePerGas"], 16) > base]
        )
        anvil.chain.rpc("evm_mine")
        assert sending.result().status == 1
    assert count(anvil, probe) == 1


def test_no_more_is_paid_than_allowed(anvil: Anvil, probe: Contract) -> None:
    anvil.chain.rpc("evm_setAutomine", False)
    with other(anvil, timeout_seconds=1.5) as chain:
        chain.bump_seconds = 0.1
        chain.max_fee_wei = 2 * GWEI
        sending = Sending(chain, probe)
        until(lambda: waiting(anvil))
        anvil.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))
        anvil.chain.rpc("evm_mine")
        with pytest.raises(TransactionTimedOut) as caught:
            sending.result()
        assert "2000000000 are allowed" in str(caught.value)
        assert all(int(one["maxFeePerGas"], 16) <= 2 * GWEI for one in waiting(anvil).values())
    assert count(anvil, probe) == 0


def test_fee_that_comes_down_again_is_taken(anvil: Anvil, probe: Contract) -> None:
    anvil.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))
    anvil.chain.rpc("evm_mine")
    anvil.chain.rpc("evm_setAutomine", False)
    with other(anvil, timeout_seconds=10) as chain:
        chain.bump_seconds = 0.1
        chain.max_fee_wei = 2 * GWEI
        sending = Sending(chain, probe)
        assert not sending.ended
        for _ in range(2):
            anvil.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
            anvil.chain.rpc("evm_mine")
            until(lambda: waiting(anvil) or count(anvil, probe))
        anvil.chain.rpc("evm_setAutomine", True)
        anvil.chain.rpc("evm_mine")
        assert sending.result().status == 1
    assert count(anvil, probe) == 1


# ---------------------------------------------------------------- nonces


def stuck(anvil: Anvil, to: str, fee_wei: int, nonces: int = 1) -> list[str]:
    """What an earlier process of the same key has left in the pool."""
    first = int(anvil.chain.rpc("eth_getTransactionCount", ALICE.address, "latest"), 16)
    sent = []
    for nonce in range(first, first + nonces):
        fields = {
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "gas": 21_000,
            "value": 1,
            "to": to,
            "maxFeePerGas": fee_wei,
            "maxPriorityFeePerGas": fee_wei,
        }
        raw = ALICE.sign_transaction(fields).raw_transaction.hex()
        sent.append(anvil.chain.rpc("eth_sendRawTransaction", "0x" + raw))
    return sent


@pytest.mark.parametrize("fee_wei", [GWEI, 500 * GWEI])
def test_what_an_earlier_process_left_hanging_is_replaced(
    anvil: Anvil, probe: Contract, fee_wei: int
) -> None:
    anvil.chain.rpc("evm_setAutomine", False)
    left = stuck(anvil, BOB.address, fee_wei, nonces=3)
    held = anvil.chain.balance_wei(BOB.address)
    with other(anvil) as chain:
        sending = Sending(chain, probe)
        until(lambda: all(one["hash"] != left[0] for one in waiting(anvil).values()))
        anvil.chain.rpc("evm_mine")
        assert sending.result().status == 1
        assert count(anvil, probe) == 1
        # Those that hung behind it were free to go on, or still hang; neither stops the next.
        sending = Sending(chain, probe)
        until(lambda: anvil.chain.rpc("evm_mine") and sending.ended)
        assert sending.result().status == 1
    assert count(anvil, probe) == 2
    assert anvil.chain.balance_wei(BOB.address) - held <= 2


def test_dearer_one_of_an_earlier_process_is_waited_for(anvil: Anvil, probe: Contract) -> None:
    anvil.chain.rpc("evm_setAutomine", False)
    stuck(anvil, BOB.address, 500 * GWEI)
    with other(anvil) as chain:
        chain.max_fee_wei = 3 * GWEI
        sending = Sending(chain, probe)
        assert not sending.ended
        anvil.chain.rpc("evm_mine")  # the dear one
        until(lambda: waiting(anvil))
        anvil.chain.rpc("evm_mine")
        assert sending.result().status == 1
    assert count(anvil, probe) == 1


def test_same_key_elsewhere_does_not_stop_it(anvil: Anvil, probe: Contract) -> None:
    """Another process replaces ours under the same nonce: ours goes under the next."""
    anvil.chain.rpc("evm_setAutomine", False)
    with other(anvil) as chain:
        sending = Sending(chain, probe)
        until(lambda: waiting(anvil))
        stuck(anvil, BOB.address, 100 * GWEI)
        anvil.chain.rpc("evm_mine")
        assert count(anvil, probe) == 0
        until(lambda: waiting(anvil))
        anvil.chain.rpc("evm_mine")
        assert sending.result().status == 1
    assert count(anvil, probe) == 1


def test_node_that_takes_no_fee_whatever_is_named(anvil: Anvil, probe: Contract) -> None:
    from wardround.chain.errors import RpcRefused

    with other(anvil) as chain:
        asked = chain.rpc.__class__.__call__

        def refusing(method: str, *parameters: Any) -> Any:
            if method == "eth_sendRawTransaction":
                raise RpcRefused(method, -32000, "transaction underpriced", None)
            return asked(chain_rpc, method, *parameters)

        chain_rpc = chain.rpc
        chain.rpc = refusing  # type: ignore[assignment]
        with pytest.raises(TransactionRefused, match="however high"):
            chain.send(ALICE, probe.function("increment", b""), "increment")
        chain.rpc = chain_rpc


# ---------------------------------------------------------------- a whole study


@contextmanager
def blocks_that_come_and_go(anvil: Anvil, seed: int) -> Iterator[list[int]]:
    """Mine a block now and then, and replace the youngest ones by empty ones at random moments."""
    stop, replaced = threading.Event(), [0]
    chance = random.Random(seed)
    node = open_chain(anvil.url, CHAIN_ID)

    def work() -> None:
        while not stop.wait(0.03):
            node.rpc("evm_mine")
            if chance.random() < 0.2:
                node.rpc("anvil_reorg", chance.choice([1, 2]), [])
                replaced[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield replaced
    finally:
        stop.set()
        thread.join()
        node.close()


def close_amid_reorganisations(stage: Stage, deadline: float) -> None:
    """Close the open round, asking again as a coordinator does.

    anvil reorganises one block after the other: a reader between them meets a shorter chain, so a
    site may see an older round than its coordinator, or a newer one, and an estimate no block.
    """
    while True:
        try:
            stage.close(stage.parties.first)
            return
        except (Retryable, StudyMismatch, TransactionRefused) as error:
            passing = isinstance(error, Retryable)
            passing = passing or re.search("^round|BlockOutOfRange", str(error)) is not None
            if not passing or time.monotonic() > deadline:
                raise


@pytest.mark.deep
def test_study_on_a_chain_that_reorganises_ends_with_the_same_models(tmp_path: Path) -> None:
    parties = Parties.new()
    balances = dict.fromkeys(parties.addresses, 1000 * ETHER)
    spec = specification("reorganised", Recording.FULL, RuleId.MEAN, 3, 0)
    models: list[list[bytes]] = []
    replaced = [0]
    for confirmations in (0, 3):
        try:
            anvil = Anvil(Genesis(CHAIN_ID, GENESIS_SECONDS, balances))
        except AnvilMissing as error:
            pytest.skip(str(error))
        with anvil, other(anvil, timeout_seconds=60) as chain:
            token = StudyToken.deploy(chain, parties.sponsor, 4 * REWARD + 2 * BOND)
            ward = WardRound.deploy(chain, parties.sponsor)
            stage = Stage(ward, token, parties, spec, tmp_path / str(confirmations))
            anvil.chain.rpc("anvil_mine", "0x5")
            chain.confirmations = confirmations
            with ExitStack() as stack:
                if confirmations:
                    replaced = stack.enter_context(blocks_that_come_and_go(anvil, seed=4))
                deadline = time.monotonic() + 120
                while len(ward.closed_rounds(stage.study)) < spec.study.rounds:
                    close_amid_reorganisations(stage, deadline)
            anvil.chain.rpc("anvil_mine", "0x5")
            closed = ward.closed_rounds(stage.study)
            assert [one.round for one in closed] == [1, 2, 3]
            models.append([bytes(one.closing.record.model) for one in closed])
            assert len(list(StudyAudit(ward, stage.study, stage.store).rounds())) == 3
    assert models[0] == models[1]
    assert replaced[0] > 2
