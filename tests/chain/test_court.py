"""The binding of Court against the real contract: every challenge, demand, tally and view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from tests.chain.staged import Theatre, theatre
from wardround.audit.challenge import send_challenge
from wardround.chain.chain import GAS_CAP
from wardround.chain.court import NO_COORDINATE
from wardround.chain.court_events import (
    Answered,
    ContributionAnswered,
    ContributionDemanded,
    Demanded,
    Proven,
    TallyOpened,
)
from wardround.chain.court_reader import Contested, DemandStatus
from wardround.chain.errors import ContractReverted
from wardround.chain.events import OtherEvent, Overturned, Registered, Slashed
from wardround.learning.initial import initial_model
from wardround.protocol.commitments import NORMS, SCORES, Commitments, commit, named_leaves
from wardround.protocol.contribution import Entry, contributions_root, pack_entries
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.evidence import CALLDATA_LIMIT, CoordinateEvidence, Demand, What
from wardround.protocol.fixed_point import INT32_MAX, INT32_MIN
from wardround.protocol.identifiers import Digest, Root, address_of
from wardround.protocol.inspection import (
    chunk_leaf,
    chunks_from,
    coordinate_evidence,
    entry_leaf,
)
from wardround.protocol.merkle import inclusion_proof, leaf_hash, vector_root
from wardround.protocol.record import Record, Recording, RuleId, genesis_closing
from wardround.protocol.rules import Rule, aggregate
from wardround.protocol.whole_evidence import CLIPPED_SITES, ScoreEvidence
from wardround.protocol.whole_inspection import scaled_by, with_rows
from wardround_simulations import cheats
from wardround_simulations.accusations import SMALL_STEPS_BYTES
from wardround_simulations.cheating import RULES
from wardround_simulations.cheats import SHIFTED, Cheater
from wardround_simulations.stage import BOND, DEMAND_SECONDS, DEPOSIT, Stage

HALF = BOND // 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("court")) as opened:
        yield opened


@pytest.fixture(scope="module")
def honest(scene: Theatre) -> Stage:
    """Two rounds closed as they should be."""
    stage = scene.stage()
    for _ in range(2):
        stage.close(scene.parties.first)
    return stage


def cheated(scene: Theatre, act: object, **options: object) -> Stage:
    stage = scene.stage(**options)  # type: ignore[arg-type]
    stage.close(scene.parties.first)
    act(Cheater(stage, scene.parties.first))  # type: ignore[operator]
    return stage


# ---------------------------------------------------------------- a proven challenge


def test_proven_challenge_overturns_slashes_and_pays(scene: Theatre) -> None:
    stage = cheated(scene, cheats.state_another_total)
    contested, accused = scene.contested(stage, 2), scene.accused(stage, 2)
    court, ward, auditor = scene.court, scene.ward, scene.parties.auditor
    burnt, had = ward.owed(stage.study, "0x" + "00" * 18 + "dEaD"), scene.token.balance_of
    before = had(auditor.address)
    assert court.stands(contested)
    receipt = court.challenge(auditor, contested, accused.totals())
    assert receipt is not None
    (proven,) = court.events_of(receipt)
    assert isinstance(proven, Proven)
    assert (proven.kind, proven.round, proven.challenger) == ("totals", 2, auditor.address)
    totals = sum(row.weight for row in accused.manifest.contributions)
    assert proven.details == {"count": 4, "totalWeight": totals}
    overturned, slashed = sorted(ward.events_of(receipt), key=lambda event: type(event).__name__)
    assert isinstance(overturned, Overturned)
    assert isinstance(slashed, Slashed)
    assert overturned.reason == "totals"
    assert overturned.coordinator == scene.parties.first.address
    assert overturned.next == scene.parties.standby.address
    assert (slashed.reward + slashed.burnt, slashed.reward) == (BOND, HALF)
    assert not court.stands(contested)
    state = ward.study(stage.study)
    assert (state.head, state.coordinator) == (2, scene.parties.standby.address)
    seat = ward.seat(stage.study, scene.parties.first.address)
    assert (seat.bonded, seat.barred, seat.bond) == (False, True, 0)
    # A second challenger finds that it is done already.
    assert court.challenge(scene.stranger, contested, accused.totals()) is None
    assert ward.owed(stage.study, auditor.address) == HALF
    paid = ward.collect(scene.stranger, stage.study, auditor.address)
    assert paid is not None
    (collected,) = ward.events_of(paid)
    assert isinstance(collected, OtherEvent)
    assert collected.values == {"account": auditor.address, "amount": HALF}
    assert ward.collect(scene.stranger, stage.study, auditor.address) is None
    assert had(auditor.address) == before + HALF
    assert burnt == 0
    with pytest.raises(StudyMismatch):
        ward.closed_round(stage.study, scene_event(scene, stage))


def scene_event(scene: Theatre, stage: Stage) -> object:
    closed = [one for one in scene.ward.events(stage.study) if type(one).__name__ == "RoundClosed"]
    return closed[-1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name.lower())
@pytest.mark.parametrize("recording", list(Recording), ids=lambda one: one.name.lower())
@pytest.mark.parametrize("steps", [False, True], ids=["one transaction", "several"])
def test_coordinate_is_computed_as_in_python(
    scene: Theatre, rule: RuleId, recording: Recording, steps: bool
) -> None:
    stage = cheated(scene, cheats.shift_a_coordinate, rule=rule, recording=recording)
    evidence = scene.accused(stage, 2).coordinate()
    assert evidence.coordinate == SHIFTED
    contested = scene.contested(stage, 2)
    limit = SMALL_STEPS_BYTES if steps else 2**17
    receipts = send_challenge(
        scene.court,
        scene.parties.auditor,
        contested,
        evidence,
        rule=stage.spec.rule,
        limit_bytes=limit,
    )
    # The approval of the deposit; a tally's steps, or commitment and challenge.
    assert len(receipts) == 1 + (2 + 4 if steps else 2)
    proven = scene.court.events_of(receipts[-1])[-1]
    assert isinstance(proven, Proven)
    # It was shifted by one.
    details = proven.details
    assert details["coordinate"] == SHIFTED
    assert details["recorded"] == details["expected"] + 1
    if steps:
        seen = [one for each in receipts for one in scene.court.events_of(each)]
        opened, *extended = seen[:5]
        assert isinstance(opened, TallyOpened)
        assert [one.name for one in extended] == ["TallyExtended"] * 4
        held = [event for one in receipts for event in scene.ward.events_of(one)]
        assert any(isinstance(event, OtherEvent) and event.name == "Held" for event in held)


@pytest.mark.parametrize("extreme", [INT32_MIN, -1, 0, INT32_MAX])
def test_any_wrong_number_is_proven(scene: Theatre, extreme: int) -> None:
    def act(cheater: Cheater) -> None:
        draft = cheater.draft()
        values = draft.model.values.copy()
        values[SHIFTED] = extreme
        cheater.close(draft.with_model(values))

    stage = cheated(scene, act)
    evidence, contested = scene.accused(stage, 2).coordinate(), scene.contested(stage, 2)
    receipt = scene.court.challenge(scene.parties.auditor, contested, evidence)
    assert receipt is not None
    (proven,) = scene.court.events_of(receipt)
    assert isinstance(proven, Proven)
    assert proven.details["recorded"] == extreme


# ---------------------------------------------------------------- honest rounds


@pytest.mark.parametrize("coordinate", [0, 1, 255, 256, 511, 512, 600])
def test_right_coordinate_is_never_overturned(
    scene: Theatre, honest: Stage, coordinate: int
) -> None:
    accused = scene.accused(honest, 2)
    evidence = accused.coordinate()
    updates = [
        np.frombuffer(honest.store.get(row.update.cid), np.int32)
        for row in accused.manifest.contributions
    ]
    models = [
        np.frombuffer(honest.store.get(ref.cid), np.int32)
        for ref in (accused.manifest.base, accused.manifest.model)
    ]
    index = coordinate // 256
    evidence = replace(
        evidence,
        coordinate=coordinate,
        updates=tuple(chunk_leaf(update.data, index) for update in updates),
        base=chunk_leaf(models[0].data, index),
        model=chunk_leaf(models[1].data, index),
    )
    with pytest.raises(ContractReverted) as caught:
        scene.court.challenge(scene.parties.auditor, scene.contested(honest, 2), evidence)
    assert caught.value.name == "Court_CoordinateRight"
    assert caught.value.arguments == {
        "coordinate": coordinate,
        "value": int(models[1][coordinate]),
    }


def altered(evidence: CoordinateEvidence, what: str) -> CoordinateEvidence:
    if what == "entry":
        entries = bytearray(evidence.entries)
        entries[200] ^= 1
        return replace(evidence, entries=bytes(entries))
    if what == "update":
        first = evidence.updates[0]
        assert first is not None
        changed = replace(first, data=b"\x01" + first.data[1:])
        return replace(evidence, updates=(changed, *evidence.updates[1:]))
    if what == "path":
        first = evidence.updates[-1]
        assert first is not None
        changed = replace(first, path=(bytes(32), *first.path[1:]))
        return replace(evidence, updates=(*evidence.updates[:-1], changed))
    leaf = evidence.base if what == "base" else evidence.model
    return replace(evidence, **{what: replace(leaf, data=leaf.data[:-1] + b"\x7f")})


@pytest.mark.parametrize("what", ["entry", "update", "path", "base", "model"])
def test_altered_evidence_proves_nothing(scene: Theatre, honest: Stage, what: str) -> None:
    evidence = altered(scene.accused(honest, 2).coordinate(), what)
    with pytest.raises(ContractReverted) as caught:
        scene.court.challenge(scene.parties.auditor, scene.contested(honest, 2), evidence)
    assert caught.value.name in ("Court_EntriesDiffer", "Court_NotIncluded")


# ---------------------------------------------------------------- tallies


def test_tally_is_gone_on_with_after_a_stop(scene: Theatre) -> None:
    stage = cheated(scene, cheats.shift_a_coordinate)
    court, auditor = scene.court, scene.parties.auditor
    evidence, contested = scene.accused(stage, 2).coordinate(), scene.contested(stage, 2)
    steps = evidence.steps(SMALL_STEPS_BYTES)
    court.approve_deposit(auditor, stage.study)
    assert court.open_tally(auditor, contested, evidence) is not None
    assert court.open_tally(auditor, contested, evidence) is None
    tally = court.own_tally(auditor.address, contested, evidence.coordinate)
    assert tally is not None
    assert court.own_tally(scene.stranger.address, contested, evidence.coordinate) is None
    updates = steps[0].openings
    assert court.add_to_tally(auditor, tally, 0, steps[0].entries, updates) is not None
    assert court.add_to_tally(auditor, tally, 0, steps[0].entries, updates) is None
    state = court.tally_of(tally)
    assert (state.owner, state.count, state.coordinate) == (auditor.address, 1, SHIFTED)
    with pytest.raises(ContractReverted) as caught:
        court.add_to_tally(scene.stranger, tally, 1, steps[1].entries, updates)
    assert caught.value.name == "Court_TallyNotYours"
    rest = send_challenge(
        court,
        auditor,
        contested,
        evidence,
        rule=stage.spec.rule,
        limit_bytes=SMALL_STEPS_BYTES,
    )
    # Opened and begun before: three more entries, and the end.
    assert len(rest) == 4
    assert not court.stands(contested)
    assert court.finish_tally(auditor, contested, tally) is None


def test_totals_are_counted_in_several_transactions(scene: Theatre) -> None:
    stage = cheated(scene, cheats.state_another_total)
    evidence, contested = scene.accused(stage, 2).totals(), scene.contested(stage, 2)
    court, auditor = scene.court, scene.parties.auditor
    receipts = send_challenge(
        court, auditor, contested, evidence, rule=stage.spec.rule, limit_bytes=2 * 157
    )
    assert len(receipts) == 5  # with the approval of the deposit
    opened = court.events_of(receipts[1])[0]
    assert isinstance(opened, TallyOpened)
    assert opened.coordinate == NO_COORDINATE
    proven = court.events_of(receipts[-1])[-1]
    assert isinstance(proven, Proven)
    assert proven.kind == "totals"
    assert send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule) == []


MANY = 120


def closed_by_many(
    scene: Theatre, rule: RuleId, seed: int, shift: int
) -> tuple[Stage, CoordinateEvidence, Contested]:
    """Close round 1 with more entries than one transaction carries, and a model off by `shift`.

    Under root recording the contract checks a signature only when it is challenged.
    """
    stage, random = scene.stage(rule=rule), np.random.default_rng(seed)
    base = initial_model(stage.spec).values
    # Few values, so that many are equal, and now and then an extreme.
    bound = int(random.choice([2, 2**20, 2**30]))
    updates = [
        random.integers(-bound, bound, base.size, dtype=np.int32, endpoint=True)
        for _ in range(MANY)
    ]
    entries = [
        Entry(
            address_of("0x" + (place + 1).to_bytes(20, "big").hex()),
            int(random.integers(1, 1000)),
            vector_root(update.data),
            Digest(bytes(32)),
            bytes(65),
        )
        for place, update in enumerate(updates)
    ]
    weights = [entry.weight for entry in entries]
    spec, change = stage.spec, aggregate(stage.spec.rule, updates, weights)
    committed = commit(spec.rule, spec.scoring, weights, updates, change)
    model = base + change
    coordinate = int(random.integers(0, base.size))
    model[coordinate] += shift
    record = Record(
        contributions_root(entries),
        vector_root(model.data),
        Digest(bytes(32)),
        committed.root,
        MANY,
        sum(weights),
    )
    previous = genesis_closing(stage.params.initial_model)
    scene.chain.advance(stage.params.registration_seconds)
    closed = scene.ward.close_round(scene.parties.first, stage.facts, 1, record, previous, entries)
    packed = pack_entries(entries)
    evidence = coordinate_evidence(spec.rule, coordinate, packed, updates, base, model)
    name = scaled_by(spec.rule)
    if name is not None:
        evidence = with_rows(evidence, spec.rule, committed.roots, committed.rows[name])
    return stage, evidence, Contested(stage.study, 1, closed.closing, previous)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name.lower())
def test_round_of_many_sites_is_judged_as_in_python(scene: Theatre, rule: RuleId) -> None:
    stage, evidence, contested = closed_by_many(scene, rule, seed=1, shift=0)
    auditor = scene.parties.auditor
    assert evidence.calldata_bytes > CALLDATA_LIMIT
    with pytest.raises(ContractReverted) as caught:
        send_challenge(scene.court, auditor, contested, evidence, rule=stage.spec.rule)
    assert caught.value.name == "Court_CoordinateRight"
    stage, evidence, contested = closed_by_many(scene, rule, seed=1, shift=-1)
    receipts = send_challenge(scene.court, auditor, contested, evidence, rule=stage.spec.rule)
    assert len(receipts) == 5  # with the approval of the deposit
    assert not scene.court.stands(contested)
    for receipt in receipts:
        sent = scene.chain.transaction(receipt.transaction_hash)
        assert sent is not None
        assert len(sent.data) < 128 * 1024
        assert receipt.gas_used < GAS_CAP


@pytest.mark.parametrize("rule", [RuleId.MEDIAN, RuleId.TRIMMED_MEAN])
def test_tally_with_wrong_bounds_proves_nothing(scene: Theatre, rule: RuleId) -> None:
    stage, evidence, contested = closed_by_many(scene, rule, 4, shift=0)
    court, auditor = scene.court, scene.parties.auditor
    court.approve_deposit(auditor, stage.study)
    low, high = evidence.order_statistics(Rule(rule, int(rule is RuleId.TRIMMED_MEAN)))
    receipt = court.open_tally(auditor, contested, evidence, (low - 1, high))
    assert receipt is not None
    tally = court.own_tally(auditor.address, contested, evidence.coordinate)
    assert tally is not None
    counted = 0
    for part in evidence.steps():
        court.add_to_tally(auditor, tally, counted, part.entries, part.openings)
        counted += len(part.updates)
    with pytest.raises(ContractReverted) as caught:
        court.finish_tally(auditor, contested, tally)
    assert caught.value.name == "Court_RanksDiffer"


# ---------------------------------------------------------------- demands


def test_demand_is_answered_once_and_pays_who_answers_and_the_accused(scene: Theatre) -> None:
    stage = scene.stage()
    for _ in range(2):
        stage.close(scene.parties.first)
    contested, accused = scene.contested(stage, 2), scene.accused(stage, 2)
    court, asker, answerer = scene.court, scene.parties.auditor, scene.stranger
    row = accused.manifest.contributions[1]
    entry = entry_leaf(accused.entries, 1)
    demand = Demand(What.UPDATE, 2, entry)
    identifier = court.demand_id(contested, demand)
    assert court.demand_of(identifier).status is DemandStatus.NONE
    assert court.answer(identifier) is None
    receipts = send_challenge(court, asker, contested, demand, rule=stage.spec.rule)
    assert len(receipts) == 2  # approval and demand
    (demanded,) = court.events_of(receipts[1])
    assert isinstance(demanded, Demanded)
    assert (demanded.demand, demanded.what, demanded.index) == (identifier, What.UPDATE, 2)
    assert demanded.deposit == DEPOSIT
    assert court.demand_chunk(asker, contested, demand) is None
    state = court.demand_of(identifier)
    assert state.status is DemandStatus.OPEN
    assert (state.root, state.index, state.round) == (row.entry().update, 2, 2)
    assert state.deadline == demanded.deadline
    with pytest.raises(ContractReverted) as caught:
        court.close_demand(asker, identifier, contested.closing)
    assert caught.value.name == "Court_TooEarly"
    data = stage.store.get(row.update.cid)
    wrong = replace(chunk_leaf(data, 2), path=())
    with pytest.raises(ContractReverted):
        court.answer_demand(answerer, identifier, contested.closing, wrong)
    where = (answerer, identifier, contested.closing)
    answered = court.answer_demand(*where, chunk_leaf(data, 2))
    assert answered is not None
    (event,) = court.events_of(answered)
    assert isinstance(event, Answered)
    assert court.answer(identifier) == data[2048:]
    assert event.opening == chunk_leaf(data, 2).opening
    assert court.answer_demand(*where, chunk_leaf(data, 2)) is None
    assert court.close_demand(asker, identifier, contested.closing) is None
    before = scene.token.balance_of(answerer.address)
    ward = scene.ward
    assert ward.owed(stage.study, answerer.address) == DEPOSIT - DEPOSIT // 2
    assert ward.owed(stage.study, scene.parties.first.address) == DEPOSIT // 2
    collected = ward.collect(answerer, stage.study, answerer.address)
    assert collected is not None
    (paid,) = ward.events_of(collected)
    assert paid.name == "Collected"
    assert scene.token.balance_of(answerer.address) == before + DEPOSIT - DEPOSIT // 2
    assert ward.collect(answerer, stage.study, answerer.address) is None
    assert court.stands(contested)
    # By study come the events that name one.
    assert [one.name for one in court.events(stage.study)] == ["Demanded"]


def test_demand_that_nobody_answers_overturns(scene: Theatre) -> None:
    stage = cheated(scene, cheats.withhold_the_model)
    court, auditor = scene.court, scene.parties.auditor
    contested, demand = scene.contested(stage, 2), Demand(What.MODEL, 0)
    before = scene.token.balance_of(auditor.address)
    send_challenge(court, auditor, contested, demand, rule=stage.spec.rule)
    assert scene.token.balance_of(auditor.address) == before - DEPOSIT
    identifier = court.demand_id(contested, demand)
    scene.chain.advance(DEMAND_SECONDS + 1)
    receipt = court.close_demand(scene.stranger, identifier, contested.closing)
    assert receipt is not None
    proven = court.events_of(receipt)[0]
    assert isinstance(proven, Proven)
    assert (proven.kind, proven.challenger) == ("withheld", auditor.address)
    assert court.demand_of(identifier).status is DemandStatus.CLOSED
    scene.ward.collect(auditor, stage.study, auditor.address)
    assert scene.token.balance_of(auditor.address) == before + HALF


# ---------------------------------------------------------------- registered contributions


def test_registered_contribution_is_demanded_and_shown(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    row, previous = cheater.rows[0], cheater.position.previous
    ward, court, study = scene.ward, scene.court, stage.study
    receipt = ward.contribute(scene.stranger, study, 2, previous, row.entry)
    assert receipt is not None
    (event,) = ward.events_of(receipt)
    assert isinstance(event, Registered)
    assert (event.site, event.weight) == (row.entry.site, row.entry.weight)
    assert Entry.unpack(event.entry) == row.entry
    assert ward.contribute(scene.stranger, study, 2, previous, row.entry) is None
    assert ward.registered(study, 2) == [event]
    assert ward.registered(study, 1) == []
    where = (study, 2, previous.commitment, row.entry.site)
    state = court.standing(*where)
    assert (state.demanded, state.shown, state.deadline, state.settled) == (0, 0, 0, False)
    court.approve_deposit(scene.parties.first, study)
    asked = court.demand_contribution(scene.parties.first, *where, (0, 2))
    assert asked is not None
    demands = court.events_of(asked)
    assert [one.chunk for one in demands if isinstance(one, ContributionDemanded)] == [0, 1]
    assert court.demand_contribution(scene.parties.first, *where, (0, 2)) is None
    state = court.standing(*where)
    assert (state.deadline > 0, state.unanswered) == (True, 2)
    chunks = chunks_from(row.update.data, 0, 2)
    before = (study, 2, previous.commitment, row.entry.pack())
    shown = court.answer_contribution(scene.stranger, *before, chunks)
    assert shown is not None
    (answer,) = court.events_of(shown)
    assert isinstance(answer, ContributionAnswered)
    assert answer.data == chunks.data == court.shown_of(*where)
    assert court.answer_contribution(scene.stranger, *before, chunks) is None
    assert court.standing(*where).unanswered == 0
    # The sender has its deposit back once the round is final.
    stage.close(scene.parties.first)
    closing = dict(ward.closings(study))[2]
    with pytest.raises(ContractReverted, match="Court_NothingDue"):
        court.close_contribution(scene.stranger, *where, closing)
    scene.chain.advance(stage.params.challenge_seconds)
    owed = ward.owed(study, scene.stranger.address)
    assert court.close_contribution(scene.stranger, *where, closing) is not None
    assert ward.owed(study, scene.stranger.address) == owed + DEPOSIT
    assert court.close_contribution(scene.stranger, *where, closing) is None


def test_contribution_that_no_model_can_hold_is_refused(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    base, site = cheater.position.base, stage.sites[0]
    assert base.values[SHIFTED] != 0
    update = np.zeros(base.values.size, np.int32)
    update[SHIFTED] = INT32_MAX if base.values[SHIFTED] > 0 else INT32_MIN
    row = next(one for one in cheater.rows if one.entry.site == site.address)
    entry = replace(row.entry, update=vector_root(update.data))
    entry = replace(entry, signature=cheater.signed(entry, bytes(stage.hospitals[0].account.key)))
    previous, study = cheater.position.previous, stage.study
    scene.ward.contribute(scene.stranger, study, 2, previous, entry)
    index = SHIFTED // 256
    arguments = (
        scene.parties.first,
        study,
        2,
        previous,
        entry.pack(),
        SHIFTED,
        chunk_leaf(update.data, index),
        chunk_leaf(base.values.data, index),
    )
    receipt = scene.court.refuse_contribution(*arguments)
    assert receipt is not None
    (event,) = scene.court.events_of(receipt)
    assert event.name == "ContributionRefused"
    assert scene.court.standing(study, 2, previous.commitment, entry.site).refused
    assert scene.court.refuse_contribution(*arguments) is None


def test_events_are_in_chain_order(scene: Theatre, honest: Stage) -> None:
    blocks = [(one.log.block_number, one.log.log_index) for one in scene.court.events()]
    assert all(first < second for first, second in pairwise(blocks))


@pytest.mark.deep
def test_score_of_as_many_sites_as_there_may_be_is_proven_in_one_transaction(
    scene: Theatre,
) -> None:
    """What no site signed serves too: a score follows from the record alone."""
    random, count, index = Random(3), CLIPPED_SITES, CLIPPED_SITES - 1

    def word(bits: int) -> bytes:
        return random.getrandbits(bits).to_bytes(32, "big")

    def opened(leaves: Sequence[bytes], place: int) -> bytes:
        return leaves[place] + b"".join(inclusion_proof([*map(leaf_hash, leaves)], place))

    stage = scene.stage(rule=RuleId.CLIPPED_MEAN)
    sites = [address_of("0x" + (place + 1).to_bytes(20, "big").hex()) for place in range(count)]
    roots = [Root(random.randbytes(32)) for _ in sites]
    entries = [
        Entry(site, 7, root, Digest(bytes(32)), random.randbytes(65))
        for site, root in zip(sites, roots, strict=True)
    ]
    norms = tuple(word(96) + random.randbytes(32) for _ in sites)
    scores = tuple(word(90) + random.randbytes(32) + word(90) + word(100) for _ in sites)
    committed = Commitments({NORMS: norms, SCORES: scores})
    record = Record(
        contributions_root(entries),
        stage.params.initial_model,
        Digest(bytes(32)),
        committed.root,
        count,
        7 * count,
    )
    previous = genesis_closing(stage.params.initial_model)
    scene.chain.advance(stage.params.registration_seconds)
    closed = scene.ward.close_round(scene.parties.first, stage.facts, 1, record, previous, entries)
    contested = Contested(stage.study, 1, closed.closing, previous)
    named = named_leaves(committed.roots)
    openings = opened(named, 1) + opened(scores, index) + opened(scores, index - 1)
    openings += opened([entry.pack() for entry in entries], index)
    openings += opened(named, 0) + committed.data(NORMS)
    evidence, rule = ScoreEvidence(index, openings), stage.spec.rule
    receipts = send_challenge(scene.court, scene.parties.auditor, contested, evidence, rule=rule)
    assert 7_200_000 < receipts[-1].gas_used < 8_000_000
    assert scene.ward.study(stage.study).head == 1
