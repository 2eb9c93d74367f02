"""A study's funds in the index, held against the balance of its escrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.audit.test_auditor import auditor_of
from tests.chain.staged import Theatre, theatre
from wardround.audit.challenge import send_challenge
from wardround.audit.claims import claim_for, claimable
from wardround.audit.collection import claim_fees
from wardround.audit.notices import Powers
from wardround.explorer.index.database import transaction
from wardround.explorer.index.project import Projector
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rows import Funds
from wardround.explorer.source import Source
from wardround.explorer.studies import read_study
from wardround.explorer.web.study import Money
from wardround.protocol.evidence import Demand, What
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import Recording, RuleId
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import (
    BOND,
    CHALLENGE_SECONDS,
    DEPOSIT,
    OBJECTION_SECONDS,
    SITES,
    Stage,
    specification,
)

FEE, ATTESTING_FEE, ROUNDS = 7, 12, 3
#: Four equal weights share it, and leave 3.
REWARD = 100 * 10**18 + 3
BURNT = "0x000000000000000000000000000000000000dEaD"


@dataclass
class Books:
    """A study, and the index that follows it."""

    scene: Theatre
    stage: Stage
    indexer: Indexer
    reader: Reader

    def funds(self) -> Funds:
        """What the index holds now, once it is as the escrow is."""
        self.indexer.catch_up()
        found = read_study(self.reader, hex_of(self.stage.study)).summary.funds
        escrow = self.scene.ward.escrow_of(self.stage.study)
        assert int(found.remaining) == self.scene.token.balance_of(escrow)
        money = Money.of(found, 0)
        out = money.paid + money.fees + money.returned + money.collected
        assert money.total == out + money.remaining
        return found

    def collect(self, account: str) -> int:
        """What an account that is owed something is paid; the index must know of it."""
        before = int(self.funds().collected)
        self.scene.ward.collect(self.scene.stranger, self.stage.study, account)
        return int(self.funds().collected) - before


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    spec = specification("funds", Recording.ROOT, RuleId.MEAN, ROUNDS, 1)
    fees = {"closing_fee": str(FEE), "attesting_fee": str(ATTESTING_FEE)}
    spec = spec.model_copy(
        update={
            "chain": spec.chain.model_copy(update=fees),
            "rewards": spec.rewards.model_copy(update={"per_round": str(REWARD)}),
        }
    )
    with theatre(tmp_path / "scene") as scene:
        stage = Stage(scene.ward, scene.token, scene.parties, spec, tmp_path / "store")
        source = Source("funds", scene.chain, scene.ward, scene.court, stage.store, 0, False)
        indexer = Indexer(source, tmp_path / "index")
        indexer.catch_up()
        reader = Reader(tmp_path / "index")
        yield Books(scene, stage, indexer, reader)
        reader.close()
        indexer.close()


def test_remaining_is_what_the_escrow_holds_from_the_first_token_to_the_last(books: Books) -> None:
    scene, stage, ward, study = books.scene, books.stage, books.scene.ward, books.stage.study
    parties, stranger = scene.parties, scene.stranger
    funds = books.funds()
    assert (int(funds.funded), int(funds.bonds_posted)) == (stage.spec.budget, 2 * BOND)

    # A demand and its answer, then a challenge that was committed to.
    for _ in range(2):
        stage.close(parties.first)
    contested, demand = scene.contested(stage, 2), Demand(What.MODEL, 0)
    send_challenge(scene.court, stranger, contested, demand, rule=stage.spec.rule)
    assert int(books.funds().deposits) == DEPOSIT
    auditor_of(scene, stage, Powers(parties.auditor, answer=True)).step()
    for answerer_or_accused in (parties.auditor, parties.first):
        assert books.collect(answerer_or_accused.address) == DEPOSIT // 2
    cheats.state_another_total(Cheater(stage, parties.first))
    contested, evidence = scene.contested(stage, 3), scene.accused(stage, 3).totals()
    send_challenge(scene.court, stranger, contested, evidence, rule=stage.spec.rule)
    funds = books.funds()
    assert (int(funds.deposits), int(funds.slashed)) == (2 * DEPOSIT, BOND)
    assert books.collect(stranger.address) == DEPOSIT + BOND // 2

    # What rounding leaves is owed to the sponsor, without an event, once all sites are paid.
    stage.close(parties.standby)
    scene.chain.advance(OBJECTION_SECONDS)
    auditor_of(scene, stage, Powers(parties.auditor)).step()
    assert books.collect(parties.auditor.address) == ROUNDS * ATTESTING_FEE
    scene.chain.advance(CHALLENGE_SECONDS)
    found = claimable(ward, study, stage.store)
    for site in found.sites():
        assert list(claim_for(ward, stranger, study, found, site))
        books.funds()
    assert books.collect(parties.sponsor.address) == ROUNDS * (REWARD % SITES)

    for coordinator in (parties.first, parties.standby):
        assert list(claim_fees(ward, coordinator, study, coordinator.address))
    assert int(books.funds().fees) == ROUNDS * FEE
    ward.release_bond(parties.standby, study, ward.last_closing(study))
    assert books.collect(BURNT) == BOND - BOND // 2
    assert books.funds().remaining == "0"


def test_funds_are_the_same_when_the_study_is_derived_again(books: Books) -> None:
    """As after a reorganisation, from the events that are left."""
    scene, stage = books.scene, books.stage
    for _ in range(2):
        stage.close(scene.parties.first)
    contested, demand = scene.contested(stage, 2), Demand(What.MODEL, 0)
    send_challenge(scene.court, scene.stranger, contested, demand, rule=stage.spec.rule)
    before, db = books.funds(), books.indexer.db
    with transaction(db):
        Projector(db).rebuild([key for (key,) in db.execute("SELECT id FROM study")])
    assert books.funds() == before
    assert int(before.deposits) == DEPOSIT
