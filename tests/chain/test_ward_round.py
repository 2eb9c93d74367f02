"""The binding against the real contract, on an embedded EVM and on anvil."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from tests.chain.conftest import World
from wardround.chain import events
from wardround.chain.contract import Log
from wardround.chain.errors import ContractReverted
from wardround.chain.study_state import OpenRound, Seat, SiteSlot
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.journal import Journal, replay_journal
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import (
    Contribution,
    Entry,
    contributions_root,
    pack_entries,
    sign_digest,
    sort_entries,
    total_weight,
)
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId
from wardround.protocol.inspection import entry_leaf
from wardround.protocol.record import (
    Closing,
    Record,
    Recording,
    RuleId,
    ScoringId,
    StudyParams,
    StudyParties,
    genesis_closing,
)
from wardround.protocol.rewards import Earning, share_floor

REWARD, BOND, SUPPLY, CAP = 1000, 500, 10**9, 100
ROUND_SECONDS, GRACE_SECONDS, REGISTRATION_SECONDS = 3600, 600, 600
CHALLENGE_SECONDS, OBJECTION_SECONDS = 86_400, 10_000
NOBODY = StudyId(b"\x07" * 32)


@dataclass(frozen=True)
class Case:
    """A contract, a token, and a study whose sponsor is alice, first coordinator bob."""

    world: World
    contract: WardRound
    token: StudyToken
    params: StudyParams
    parties: StudyParties
    sites: Sequence[LocalAccount]
    auditors: Sequence[LocalAccount]
    standby: LocalAccount
    payouts: Sequence[str]

    @property
    def study(self) -> StudyId:
        return self.params.study_id

    @property
    def facts(self) -> StudyFacts:
        return self.contract.facts(self.study)

    def set_up(self) -> None:
        alice, bob, contract = self.world.alice, self.world.bob, self.contract
        assert contract.create_study(alice, self.params, self.parties)
        assert self.token.approve(alice, contract.address, SUPPLY)
        assert contract.fund(alice, self.study, REWARD * self.params.rounds)
        for site, payout in zip(self.sites, self.payouts, strict=True):
            assert contract.admit_site(alice, self.study, site.address, payout, CAP)
        for coordinator in (bob, self.standby):
            self.token.transfer(alice, coordinator.address, BOND)
            assert self.token.approve(coordinator, contract.address, BOND)
            assert contract.post_bond(coordinator, self.study)
        assert contract.open_study(alice, self.study)

    def entries(self, round_number: int, previous: Closing) -> list[Entry]:
        made = []
        for place, site in enumerate(self.sites):
            contribution = Contribution(
                self.study,
                round_number,
                previous.record.model,
                SiteAddress(site.address),
                Root(bytes([round_number, place]) * 16),
                10 + place,
                Digest(bytes([place]) * 32),
            )
            made.append(
                Entry(
                    contribution.site,
                    contribution.weight,
                    contribution.update,
                    contribution.report,
                    contribution.sign(self.contract.domain, bytes(site.key)),
                )
            )
        return sort_entries(made)

    def earning(self, number: int, closing: Closing, entries: list[Entry], place: int) -> Earning:
        packed = [entry.pack() for entry in entries]
        return Earning(number, closing, entry_leaf(packed, place))

    def record(self, round_number: int, entries: list[Entry]) -> Record:
        return Record(
            contributions_root(entries),
            Root(bytes([0x30 + round_number]) * 32),
            Digest(bytes([0x50 + round_number]) * 32),
            commitments_root({}),
            len(entries),
            total_weight(entries),
        )


@pytest.fixture(params=["full", "root"])
def case(request: pytest.FixtureRequest, world: World) -> Case:
    contract = WardRound.deploy(world.chain, world.alice)
    token = StudyToken.deploy(world.chain, world.alice, SUPPLY)
    sites = [Account.create() for _ in range(3)]
    auditors = sorted((Account.create() for _ in range(2)), key=lambda one: one.address.lower())
    standby = Account.create()
    world.chain.transfer(world.alice, standby.address, 10**18)
    parties = StudyParties.of(
        [world.bob.address, standby.address], [auditor.address for auditor in auditors]
    )
    params = StudyParams(
        sponsor=world.alice.address,
        token=token.address,
        reward_per_round=REWARD,
        bond=BOND,
        deposit=1,
        closing_fee=0,
        attesting_fee=0,
        rounds=3,
        challenge_seconds=CHALLENGE_SECONDS,
        objection_seconds=OBJECTION_SECONDS,
        round_seconds=ROUND_SECONDS,
        grace_seconds=GRACE_SECONDS,
        registration_seconds=REGISTRATION_SECONDS,
        demand_seconds=3600,
        lifetime_seconds=10**7,
        min_sites=2,
        auditor_quorum=2,
        recording=Recording.FULL if request.param == "full" else Recording.ROOT,
        locked_cohort=False,
        rule=RuleId.MEAN,
        rule_argument=0,
        scoring=ScoringId.EXAMPLES,
        parameter_count=1000,
        update_bound=2**24,
        initial_model=Root(b"\x11" * 32),
        specification=Digest(b"\x22" * 32),
        code=Digest(b"\x33" * 32),
        parties=parties.digest,
    )
    payouts = [Account.create().address for _ in sites]
    return Case(world, contract, token, params, parties, sites, auditors, standby, payouts)


def test_study_from_creation_to_refund(case: Case) -> None:
    contract, chain = case.contract, case.world.chain
    alice, bob, study = case.world.alice, case.world.bob, case.study
    assert chain.call(contract.contract.function("studyIdOf", case.params.abi())) == study
    assert not contract.exists(study)
    case.set_up()
    assert contract.exists(study)
    facts = case.facts
    assert facts.params == case.params
    assert facts.domain == contract.domain
    assert set(facts.members) == {site.address for site in case.sites}
    assert all(m.max_weight == CAP and m.belongs(1) for m in facts.members.values())
    state = contract.study(study)
    assert (state.sponsor, state.token, state.coordinator) == (
        alice.address,
        case.token.address,
        bob.address,
    )
    assert (state.recording, state.rule) == (case.params.recording, RuleId.MEAN)
    assert (state.head, state.funded, state.site_count) == (1, 3 * REWARD, 3)
    assert state.coordinators == (bob.address, case.standby.address)
    assert contract.seat(study, bob.address) == Seat(BOND, 1, True)
    assert contract.is_auditor(study, case.auditors[0].address)
    assert not contract.is_auditor(study, bob.address)

    # Round 1 by the first coordinator; asked again, the chain already has it.
    genesis = genesis_closing(case.params.initial_model)
    opened = contract.open_round(study)
    assert opened == OpenRound(1, bob.address, state.opened_at, genesis.commitment)
    entries = case.entries(1, genesis)
    record = case.record(1, entries)
    closed = contract.close_round(bob, facts, 1, record, genesis, entries)
    assert closed.closing.record == record
    assert closed.closing.coordinator == bob.address
    assert closed.entries == (pack_entries(entries) if state.recording is Recording.FULL else None)
    assert closed.gas_used < (150_000 if state.recording is Recording.FULL else 65_001)
    head = chain.block().number
    assert contract.close_round(bob, facts, 1, record, genesis, entries) == closed
    assert chain.block().number == head
    other = replace(record, manifest=Digest(bytes(32)))
    with pytest.raises(ContractReverted) as caught:
        contract.close_round(bob, facts, 1, other, genesis, entries)
    assert caught.value.name == "WardRound_RoundNotOpen"
    assert caught.value.arguments == {"study": study, "round": 1, "head": 2}
    assert contract.commitment(study, 1) == closed.closing.commitment

    # Round 2 by the standby, after bob missed his turn.
    with pytest.raises(ContractReverted) as caught:
        contract.take_over(case.standby, study)
    assert caught.value.name == "WardRound_TooEarly"
    chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    assert contract.take_over(case.standby, study)
    assert contract.take_over(case.standby, study) is None
    first, entries = entries, case.entries(2, closed.closing)
    second = contract.close_round(
        case.standby, facts, 2, case.record(2, entries), closed.closing, entries
    )
    # Round 1 is final by auditors, then round 2 by time.
    closing = closed.closing
    assert not contract.is_final(study, 1, closing)
    digest = attestation_digest(contract, study, 1, closing)
    signatures = {one.address: sign_digest(digest, bytes(one.key)) for one in case.auditors}
    alone = dict(list(signatures.items())[:1])
    with pytest.raises(ContractReverted) as caught:
        contract.attest(bob, study, 1, closing, alone)
    assert caught.value.name == "WardRound_TooEarly"
    chain.advance(OBJECTION_SECONDS)
    with pytest.raises(ContractReverted) as caught:
        contract.attest(bob, study, 1, closing, alone)
    assert caught.value.name == "WardRound_QuorumMissing"
    assert contract.attest(bob, study, 1, closing, signatures)
    assert contract.attest(bob, study, 1, closing, signatures) is None
    assert contract.is_final(study, 1, closing)
    # As after an overturned round, between the look at it and this question.
    assert not contract.is_final(study, 1, replace(closing, closed_at=1))

    # Claims: anyone may send one, the payout address gets it, once.
    site, earning = first[0].site, case.earning(1, closing, first, 0)
    payout = contract.site(study, site).payout
    share = share_floor(REWARD, first[0].weight, record.total_weight)
    assert not contract.is_paid(study, 1, site)
    receipt = contract.claim(bob, study, site, [earning])
    assert receipt is not None
    (claimed,) = contract.events_of(receipt)
    assert isinstance(claimed, events.Claimed)
    assert (claimed.site, claimed.round) == (site, 1)
    assert (claimed.payout, claimed.amount) == (payout, share)
    assert contract.claim(bob, study, site, [earning]) is None
    assert contract.is_paid(study, 1, site)
    assert contract.paid_of(study, 1) == (share, 1)
    assert contract.claims(study, site) == {1: share}
    assert case.token.balance_of(payout) == contract.claimed(study, site) == share
    later, other = case.earning(2, second.closing, entries, 0), first[1].site
    refused = [
        ("WardRound_NothingDue", site, []),
        ("WardRound_AlreadyPaid", site, [earning, later]),
        ("WardRound_NotFinal", site, [later]),
        ("WardRound_EntryNotIncluded", other, [earning]),
        ("WardRound_EntryNotIncluded", other, [case.earning(1, closing, first[1:], 0)]),
    ]
    for name, key, earnings in refused:
        with pytest.raises(ContractReverted) as caught:
            contract.claim(bob, study, key, earnings)
        assert caught.value.name == name

    # The last round, then everything goes home.
    entries = case.entries(3, second.closing)
    third = contract.close_round(
        case.standby, facts, 3, case.record(3, entries), second.closing, entries
    )
    with pytest.raises(ContractReverted) as caught:
        contract.open_round(study)
    assert caught.value.name == "WardRound_StudyOver"
    with pytest.raises(ContractReverted) as caught:
        contract.refund(alice, study, third.closing)
    assert caught.value.name == "WardRound_NotFinal"
    chain.advance(CHALLENGE_SECONDS)
    # All rounds are final: what they earn stays, so nothing goes back.
    with pytest.raises(ContractReverted) as caught:
        contract.refund(alice, study, third.closing)
    assert caught.value.name == "WardRound_NothingDue"
    rounds = [(1, closing, first), (2, second.closing, case.entries(2, closing))]
    rounds.append((3, third.closing, entries))
    for place in range(3):
        earnings = [case.earning(n, one, made, place) for n, one, made in rounds]
        earnings = earnings[1:] if place == 0 else earnings
        assert contract.claim(alice, study, first[place].site, earnings)
    # What flooring left of a round is the sponsor's, once its last entry is paid.
    paid = sum(contract.paid_of(study, number)[0] for number in (1, 2, 3))
    assert contract.study(study).paid == paid
    assert contract.owed(study, alice.address) == 3 * REWARD - paid
    for coordinator in (bob, case.standby):
        assert contract.release_bond(coordinator, study, third.closing)
        assert contract.release_bond(coordinator, study, third.closing) is None
        assert case.token.balance_of(coordinator.address) == BOND

    assert contract.closed_rounds(study) == [closed, second, third]
    kinds = [getattr(one, "name", type(one).__name__) for one in contract.events(study)]
    contributed = ["Contributed"] * (3 if case.params.recording is Recording.FULL else 0)
    assert kinds == [
        *("StudyCreated", "Funded", "SiteAdmitted", "SiteAdmitted", "SiteAdmitted"),
        *("BondPosted", "BondPosted", "StudyOpened"),
        *(*contributed, "RoundClosed", "TookOver", *contributed, "RoundClosed"),
        *("Attested", "Claimed", *contributed, "RoundClosed"),
        *["Claimed"] * 8,
        *("BondReleased", "BondReleased"),
    ]
    assert contract.events(NOBODY) == []
    assert contract.events(study, from_block=third.block_number + 1) == contract.events(study)[-10:]


def attestation_digest(
    contract: WardRound, study: StudyId, round_number: int, closing: Closing
) -> bytes:

    kind = keccak(text="Attestation(bytes32 study,uint32 round,bytes32 record)")
    body = keccak(kind + study + round_number.to_bytes(32, "big") + closing.commitment)
    return keccak(b"\x19\x01" + contract.domain.separator + body)


def test_repeated_steps_send_nothing(case: Case) -> None:
    case.set_up()
    contract, alice, bob, study = case.contract, case.world.alice, case.world.bob, case.study
    site = case.sites[0].address
    head = case.world.chain.block().number
    assert contract.create_study(alice, case.params, case.parties) is None
    assert case.token.approve(bob, contract.address, 0) is None
    assert contract.admit_site(alice, study, site, case.payouts[0], CAP) is None
    assert contract.post_bond(bob, study) is None
    assert contract.open_study(alice, study) is None
    assert case.world.chain.block().number == head


def test_removed_site_is_a_member_until_the_next_round(case: Case) -> None:
    case.set_up()
    contract, alice, study = case.contract, case.world.alice, case.study
    site = SiteAddress(case.sites[0].address)
    assert contract.site(study, site).max_weight == CAP
    assert contract.remove_site(alice, study, site)
    assert contract.remove_site(alice, study, site) is None
    assert contract.site(study, site) == SiteSlot(case.payouts[0], CAP, 1, 2)
    assert contract.site(study, site).max_weight == CAP
    member = case.facts.members[site]
    assert member.belongs(1)
    assert not member.belongs(2)


def test_refusals_carry_the_contracts_names(case: Case) -> None:
    contract, alice, bob = case.contract, case.world.alice, case.world.bob
    study = case.study
    stranger = SiteAddress(Account.create().address)
    assert contract.site(study, stranger).max_weight == 0
    assert not contract.site(study, stranger).is_member(1)
    parties, alone = case.parties, StudyParties.of([bob.address], case.parties.auditors)
    attempts = [
        (lambda: contract.study(NOBODY), "WardRound_StudyUnknown"),
        (lambda: contract.open_round(study), "WardRound_StudyUnknown"),
        (lambda: contract.create_study(bob, case.params, parties), "WardRound_NotSponsor"),
        (lambda: contract.create_study(alice, case.params, alone), "WardRound_PartiesDiffer"),
    ]
    for attempt, name in attempts:
        with pytest.raises(ContractReverted) as caught:
            attempt()
        assert caught.value.name == name
    contract.create_study(alice, case.params, parties)
    # The token's own error comes through the contract.
    with pytest.raises(ContractReverted) as caught:
        contract.fund(alice, study, REWARD)
    assert caught.value.name == "ERC20InsufficientAllowance"
    assert caught.value.arguments["needed"] == REWARD
    with pytest.raises(ContractReverted) as caught:
        contract.open_study(alice, study)
    assert caught.value.name == "WardRound_Underfunded"
    with pytest.raises(StudyMismatch):
        contract.params(NOBODY)


def test_coordinators_that_the_studys_id_does_not_name_are_refused(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node can lie about an event's data, but not about what its study's id is the hash of."""
    contract, told = case.contract, case.contract.chain.logs
    contract.create_study(case.world.alice, case.params, case.parties)
    assert contract.created(case.study).parties == case.parties
    named, other = (bytes.fromhex(one[2:]) for one in (case.world.bob.address, case.payouts[0]))

    def lying(*asked: Any) -> list[Log]:
        return [replace(log, data=log.data.replace(named, other)) for log in told(*asked)]

    monkeypatch.setattr(contract.chain, "logs", lying)
    with pytest.raises(StudyMismatch, match="coordinators and auditors is 0x"):
        contract.created(case.study)


def test_sponsor_ends_a_study_that_every_coordinator_left(case: Case) -> None:
    case.set_up()
    contract, alice, study = case.contract, case.world.alice, case.study
    with pytest.raises(ContractReverted) as caught:
        contract.end_study(alice, study)
    assert caught.value.name == "WardRound_TooEarly"
    case.world.chain.advance(ROUND_SECONDS + 2 * GRACE_SECONDS)
    assert contract.end_study(alice, study)
    assert contract.end_study(alice, study) is None
    assert contract.study(study).rounds == 0
    assert contract.closed_rounds(study) == []


def test_study_on_either_chain_is_run_again_from_its_journal(case: Case, tmp_path: Path) -> None:
    case.set_up()
    contract, study = case.contract, case.study
    genesis = genesis_closing(case.params.initial_model)
    entries = case.entries(1, genesis)
    contract.close_round(case.world.bob, case.facts, 1, case.record(1, entries), genesis, entries)
    journal = Journal.create(tmp_path / "journal.jsonl", case.world.genesis)
    journal.catch_up(case.world.chain)
    journal.close()
    chain = replay_journal(journal.path)
    again = WardRound(chain, contract.address)
    assert again.closed_rounds(study) == contract.closed_rounds(study)
    assert again.events(study) == contract.events(study)
    assert again.facts(study) == case.facts
    assert again.study(study) == contract.study(study)
    chain.close()
