"""A coordinator that waits for confirmations, on a chain that takes its closing back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tests.coordinator.conftest import Hospitals
from tests.coordinator.test_registrations import register
from tests.integration.networks import CHAIN_ID, run, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.chain.chain import open_chain
from wardround.chain.court import Court
from wardround.chain.events import RoundClosed
from wardround.chain.ward_round import WardRound
from wardround.devchain.anvil import Anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.protocol.contribution import Entry
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.inspection import chunks_from
from wardround.protocol.manifest import Dropped
from wardround.protocol.record import Record
from wardround.store import FolderStore
from wardround_coordinator.errors import PositionMoved
from wardround_coordinator.server_app import coordinate
from wardround_coordinator.session import Session
from wardround_coordinator.settings import COORDINATOR_FILE
from wardround_coordinator.standby import Tenure
from wardround_simulations.client_app import app as client_app
from wardround_simulations.engines import run_in_process
from wardround_simulations.network import Network, new_folder, new_keys, prepare

CONFIRMATIONS = 3
ROUNDS, SITES = 3, 3
ROUND_SECONDS, GRACE_SECONDS = 600, 12
SCENARIO = small_scenario(
    chain={
        "round_seconds": ROUND_SECONDS,
        "grace_seconds": GRACE_SECONDS,
        "registration_seconds": 12,
        "bond": "50",
    }
)
#: Long enough for a coordinator that does not wait to go on.
_PATIENT_SECONDS = 0.7
pytestmark = pytest.mark.timeout(180)


@dataclass
class Hand:
    """Mines, and takes blocks away, when the test wants it; a connection of its own."""

    ward: WardRound
    study: StudyId
    told: list[int] = field(default_factory=list)
    #: Transactions that closed a round, those taken away too, with their records.
    closings: list[tuple[int, Record]] = field(default_factory=list)

    def closed(self, number: int) -> RoundClosed | None:
        """The closing of a round as the head has it."""
        for event in self.ward.events(self.study):
            if isinstance(event, RoundClosed) and event.round == number:
                return event
        return None

    def wait_for(self, number: int) -> RoundClosed:
        event: RoundClosed = until(lambda: self.closed(number))
        self.closings.append((number, event.closing.record))
        return event

    def mine(self, count: int) -> None:
        for _ in range(count):
            self.ward.chain.rpc("evm_mine")

    def confirm(self, number: int) -> None:
        """Mine one short of the confirmations, see that nothing happens; then the last one."""
        self.wait_for(number)
        self.mine(CONFIRMATIONS - 1)
        time.sleep(_PATIENT_SECONDS)
        assert number not in self.told
        assert self.closed(number + 1) is None
        self.mine(1)
        until(lambda: number in self.told)

    def hash_of(self, block: int) -> str:
        found = self.ward.chain.rpc("eth_getBlockByNumber", hex(block), False)
        return str(found["hash"])

    def work(self) -> None:
        self.confirm(1)
        # The second round's closing goes with all blocks after it, at the last moment.
        before = self.wait_for(2)
        self.mine(CONFIRMATIONS - 1)
        block, head = before.log.block_number, self.ward.chain.block().number
        assert head == block + CONFIRMATIONS - 1
        was = self.hash_of(block)
        self.ward.chain.rpc("anvil_reorg", CONFIRMATIONS, [])
        assert self.hash_of(block) != was
        assert 2 not in self.told
        self.confirm(2)
        self.confirm(3)


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    folders = new_folder(tmp_path / "network")
    keys = new_keys(folders, 1)
    genesis = Genesis(CHAIN_ID, int(time.time()), dict.fromkeys(keys.addresses, 10**21))
    try:
        anvil = Anvil(genesis)
    except AnvilMissing as error:
        pytest.skip(str(error))
    with anvil:
        made = prepare(SCENARIO, folders, keys, anvil.chain, data_dir=None)
        path = folders.coordinator / COORDINATOR_FILE
        text, url = path.read_text(), made.contract.chain.url
        assert f'chain = "{url}"' in text
        address = f"{anvil.url}#confirmations={CONFIRMATIONS}"
        path.write_text(text.replace(f'chain = "{url}"', f'chain = "{address}"'))
        # The study itself must be confirmed before a coordinator sees it.
        anvil.chain.rpc("anvil_mine", hex(CONFIRMATIONS + 1))
        with made.guarded(lambda: int(time.time())):
            yield made


def test_closing_that_a_reorganisation_took_is_sent_again_and_only_then_acted_upon(
    network: Network, tmp_path: Path
) -> None:
    chain = open_chain(network.contract.chain.url, CHAIN_ID)
    hand = Hand(WardRound(chain, network.contract.address), network.study)
    failed: list[BaseException] = []
    trained: list[int] = []

    def work() -> None:
        try:
            hand.work()
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            failed.append(error)
            # Mine blocks for the waiting coordinator, so that it ends.
            while len(hand.told) < ROUNDS:
                hand.mine(1)
                time.sleep(0.05)

    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        folder = network.folders.coordinator
        coordinate(folder, grid, lambda summary: hand.told.append(summary["round"]))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    partial(
        run_in_process,
        server_app,
        client_app,
        [{} for _ in network.parties],
        {"network": str(network.folders.root)},
        on_reply=lambda node, kind, seconds: trained.append(node) if kind == "train" else None,
    )()
    thread.join(60)
    assert not failed, failed
    assert not thread.is_alive()
    assert hand.told == [1, 2, 3]
    # Twice the same record: no site was asked to train or sign again.
    assert [number for number, _ in hand.closings] == [1, 2, 2, 3]
    assert hand.closings[1] == hand.closings[2]
    assert len(trained) == ROUNDS * SITES
    closings = network.contract.closings(network.study)
    undisturbed = run(SCENARIO, tmp_path / "plain")
    assert [hex_of(one.record.model) for _, one in closings] == [
        one["model"] for one in undisturbed.rounds
    ]
    with network.store() as store:
        audit = StudyAudit(network.contract, network.study, store)
        assert len(list(audit.rounds())) == ROUNDS
    chain.close()


@contextmanager
def careful(network: Network) -> Iterator[WardRound]:
    """The contract as a client with confirmations reads it."""
    url = f"{network.contract.chain.url}#confirmations={CONFIRMATIONS}"
    chain = open_chain(url, CHAIN_ID)
    try:
        yield WardRound(chain, network.contract.address)
    finally:
        chain.close()


def session_of(network: Network, contract: WardRound) -> Session:
    facts = contract.facts(network.study)
    return Session(contract, network.keys.coordinator, FolderStore(network.folders.store), facts)


def test_coordinator_that_died_after_closing_asks_nobody_for_that_round_again(
    network: Network,
) -> None:
    """It sees the round still open until the closing is confirmed."""
    hospitals = Hospitals(network)
    first = session_of(network, network.contract)
    position = first.position()
    first.run_round(position, hospitals.asked, hospitals.replies(position))
    with careful(network) as contract:
        session = session_of(network, contract)
        position = session.position()
        assert position.round == 1
        with pytest.raises(PositionMoved) as caught:
            session.check_standing(position)
        assert caught.value.open_round == 2
        # Had it asked all the same, and others answered.
        answers = hospitals.replies(position)[:2]
        with pytest.raises(PositionMoved):
            session.run_round(position, hospitals.asked, answers)


def test_registration_that_a_reorganisation_brings_at_the_cut_off_is_in_the_round(
    network: Network,
) -> None:
    hospitals, plain = Hospitals(network), network.contract
    chain, cut_off = plain.chain, network.params.registration_seconds
    opened = plain.open_round(network.study).opened_at
    court, entry, waits = Court(plain), list[tuple[Entry, bytes]](), 0
    before: list[Any] = [chain.rpc("evm_snapshot")]

    def wait(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            # The newest block is behind the cut-off, and no site has registered.
            chain.advance(cut_off)
        elif waits == 2:
            # It is taken back, and in its place comes one with a registration.
            chain.rpc("evm_revert", before[0])
            chain.rpc("evm_setNextBlockTimestamp", opened + cut_off - 2)
            entry.append(register(hospitals, 0, position))
        else:
            where = (network.study, 1, position.previous.commitment)
            state = court.standing(*where, entry[0][0].site)
            if state.unanswered:
                chunks = chunks_from(entry[0][1], state.shown, state.unanswered)
                signer = network.keys.sponsor
                court.answer_contribution(signer, *where, entry[0][0].pack(), chunks)
            chain.advance(max(1, int(seconds)))

    facts = plain.facts(network.study)
    store = FolderStore(network.folders.store)
    with careful(network) as contract:
        signer = network.keys.coordinator
        session = Session(contract, signer, store, facts, wait=wait)
        position = session.position()
        answers = hospitals.replies(position)
        site = hospitals.sites[0].lower()
        answers[0] = (0, Dropped(site=site, reason="no_reply", evidence="silent"))
        stop = threading.Event()

        def mine() -> None:
            # What the coordinator sends is confirmed.
            while not stop.wait(0.2):
                if entry:
                    chain.rpc("evm_mine")

        thread = threading.Thread(target=mine, daemon=True)
        thread.start()
        try:
            closed = session.run_round(position, hospitals.asked, answers)
        finally:
            stop.set()
            thread.join()
    assert waits > 2
    assert entry[0][0] in closed.state.entries


def test_coordinator_whose_turn_is_over_waits_until_that_is_confirmed(network: Network) -> None:
    heir, said = network.keys.standbys[0], list[str]()
    network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    network.contract.take_over(heir, network.study)
    with careful(network) as contract:

        def work() -> None:
            session = session_of(network, contract)
            session.check_standing(session.position())
            raise AssertionError("a site would have been asked")

        Tenure(
            contract,
            network.keys.coordinator,
            network.study,
            standby=False,
            clock=time.time,
            wait=lambda seconds: network.contract.chain.advance(1),
            say=said.append,
        ).serve(work)
    begun, told, ended = said
    assert begun == "going on with round 1 of 3"
    assert heir.address in told  # once, however often it is found
    assert ended == f"coordinator {heir.address} is active: standing down"
