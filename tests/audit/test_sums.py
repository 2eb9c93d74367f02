"""Rounds that add up counts: closed, replayed, audited and challenged on a real chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.chain.staged import Theatre, theatre
from wardround.audit.audit import StudyAudit
from wardround.audit.auditor import Auditor
from wardround.audit.challenge import send_challenge
from wardround.audit.first_model import rebuild_first_model
from wardround.audit.notices import Notice, Powers
from wardround.chain.court_events import Proven
from wardround.chain.court_reader import Contested, DemandStatus
from wardround.chain.errors import ContractReverted
from wardround.host.code import application_digest
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.cid import cid_of
from wardround.protocol.contribution import Contribution, Entry, sort_entries
from wardround.protocol.errors import ReplayFailed
from wardround.protocol.evidence import Demand, What
from wardround.protocol.fixed_point import Int64Vector, vector_bytes
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround.protocol.inspection import chunk_leaf, chunks_from, coordinate_evidence
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import (
    COUNTS_DTYPE,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    TrainReply,
)
from wardround.protocol.record import Recording, RuleId, StudyParties, genesis_closing
from wardround.protocol.settlement import RoundFrame, Vector, settle
from wardround.protocol.study import AggregationSpec
from wardround.store import FolderStore
from wardround_coordinator.session import RoundOutcome, Session, StudyPosition
from wardround_coordinator.strategy import _vector_record
from wardround_coordinator.verification import RawVector, Reply
from wardround_simulations.accusations import SMALL_STEPS_BYTES
from wardround_simulations.network import begin_study
from wardround_simulations.stage import specification

#: Three chunks of 128 coordinates, the last one short.
COUNTS, PLACE = 300, 290
SITES, BOUND, WEIGHT = 4, 1000, 7

RECORDINGS = pytest.mark.parametrize("recording", list(Recording), ids=lambda one: one.name.lower())
STEPS = pytest.mark.parametrize("limit", [2**17, SMALL_STEPS_BYTES], ids=["whole", "in steps"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("sums")) as opened:
        yield opened


@dataclass
class Census:
    """A study of sums with sites that count made-up things."""

    scene: Theatre
    recording: Recording = Recording.ROOT
    sites: list[LocalAccount] = field(
        default_factory=lambda: [Account.create() for _ in range(SITES)]
    )

    def __post_init__(self) -> None:
        ward, parties = self.scene.ward, self.scene.parties
        name = f"census-{len(self.scene.stages)}"
        self.scene.stages.append(name)
        spec = specification(name, self.recording, RuleId.SUM, 3, 0)
        counted = AggregationSpec(rule="sum", scale_bits=0, update_bound=BOUND, min_sites=2)
        self.spec = spec.model_copy(update={"aggregation": counted})
        self.store = FolderStore(self.scene.folder / name)
        self.store.put(canonical_bytes(self.spec.document()))
        first = Vector.of(np.zeros(COUNTS, np.int64))
        self.store.put(first.data)
        addresses = [one.address for one in (parties.first, parties.standby)]
        listed = StudyParties.of(addresses, [parties.auditor.address])
        self.params = self.spec.params(
            sponsor=parties.sponsor.address,
            token=self.scene.token.address,
            parameter_count=COUNTS,
            initial_model=first.root,
            code=application_digest(),
            parties=listed.digest,
        )
        ward.create_study(parties.sponsor, self.params, listed)
        self.study = self.params.study_id
        self.scene.token.approve(parties.sponsor, ward.address, self.spec.budget)
        ward.fund(parties.sponsor, self.study, self.spec.budget)
        begin_study(
            ward,
            self.scene.token,
            self.params,
            parties.sponsor,
            [parties.first, parties.standby],
            [site.address for site in self.sites],
            100,
        )

    # ---------------------------------------------------------------- sites

    def counts(self, node: int, number: int) -> Int64Vector:
        random = np.random.default_rng(100 * number + node)
        return random.integers(-BOUND, BOUND, COUNTS, endpoint=True)

    def reply(
        self, node: int, position: StudyPosition, counts: np.ndarray | None = None
    ) -> TrainReply:
        """Sign counts, by default those of the round."""
        site, number = self.sites[node], position.round
        values = self.counts(node, number) if counts is None else counts
        report = canonical_bytes(
            {
                "study": hex_of(self.study),
                "round": number,
                "site": site.address.lower(),
                "examples": WEIGHT + node,
                "metrics": {},
                "privacy": None,
                "code": hex_of(self.params.code),
                "seconds": 1,
            }
        )
        statement = Contribution(
            self.study,
            number,
            position.base.root,
            SiteAddress(site.address),
            vector_root(vector_bytes(values)),
            WEIGHT + node,
            sha256_digest(report),
        )
        signature = statement.sign(self.scene.ward.domain, bytes(site.key))
        entry = Entry(
            statement.site, statement.weight, statement.update, statement.report, signature
        )
        return TrainReply(self.study, number, entry, report)

    # ---------------------------------------------------------------- coordinators

    def session(self, **more: Any) -> Session:
        ward = self.scene.ward
        return Session(ward, self.scene.parties.first, self.store, ward.facts(self.study), **more)

    def close(
        self, changed: dict[int, np.ndarray] | None = None, session: Session | None = None
    ) -> RoundOutcome:
        """Close the open round honestly, some sites sending something else."""
        session = session or self.session()
        position = session.position()
        asked = {node: SiteAddress(site.address) for node, site in enumerate(self.sites)}
        answers = []
        for node in asked:
            counts = (changed or {}).get(node, self.counts(node, position.round))
            dtype = COUNTS_DTYPE if counts.itemsize == 8 else VECTOR_DTYPE
            vector = RawVector(dtype, VECTOR_FORMAT, vector_bytes(counts))
            answers.append((node, Reply(self.reply(node, position, counts).fields(), vector)))
        return session.run_round(position, asked, answers)

    def cheat(self, model: Int64Vector, counts: Sequence[Int64Vector]) -> None:
        """Close the open round with whatever model, over whatever the sites have signed."""
        position = self.session().position()
        made = {}
        for node, values in enumerate(counts):
            reply = self.reply(node, position, values)
            objects = (self.store.put(vector_bytes(values)), self.store.put(reply.report))
            made[reply.entry.site] = (reply.entry, objects)
        entries = sort_entries([entry for entry, _ in made.values()])
        facts = self.scene.ward.facts(self.study)
        first = self.scene.parties.first
        frame = RoundFrame(
            facts.domain, self.study, self.spec, position.round, first.address, position.base
        )
        objects = [made[entry.site][1] for entry in entries]
        settled = settle(frame, entries, objects, model, [], ())
        for data in (settled.model.data, settled.manifest_data):
            self.store.put(data)
        self.scene.ward.close_round(
            first, facts, position.round, settled.record, position.previous, entries
        )

    # ---------------------------------------------------------------- auditors

    def audit(self) -> list[int]:
        rounds = StudyAudit(self.scene.ward, self.study, self.store).rounds()
        return [one.closed.round for one in rounds]

    def auditor(self, **powers: Any) -> Auditor:
        given = Powers(self.scene.parties.auditor, **powers)
        return Auditor(self.scene.ward, self.study, self.store, given, now=lambda: 0.0)

    def is_overturned(self, number: int) -> bool:
        return self.scene.ward.study(self.study).head == number


def kinds(notices: list[Notice]) -> list[tuple[str, int, str | None]]:
    return [(one.kind, one.round, one.challenge) for one in notices]


# ---------------------------------------------------------------- the honest


@RECORDINGS
def test_sums_are_plain_unweighted_and_added_to_nothing(
    scene: Theatre, recording: Recording
) -> None:
    census = Census(scene, recording)
    for number in (1, 2):
        outcome = census.close()
        assert not outcome.settlement.manifest.dropped
        expected = sum(census.counts(node, number) for node in range(SITES))
        assert outcome.settlement.model.values.dtype == np.int64
        np.testing.assert_array_equal(outcome.settlement.model.values, expected)
        assert outcome.settlement.manifest.rule.name == "sum"
        # Rewards follow the weights all the same.
        shares = outcome.settlement.shares
        assert (
            shares[SiteAddress(census.sites[3].address)]
            > shares[SiteAddress(census.sites[0].address)]
        )
    assert census.audit() == [1, 2]
    assert kinds(census.auditor(challenge=True).step()) == [("holds", 1, None), ("holds", 2, None)]


def test_sums_within_the_bound_are_taken_and_others_dropped(scene: Theatre) -> None:
    census = Census(scene)
    edge = np.full(COUNTS, -BOUND)
    beyond = edge.copy()
    beyond[PLACE] -= 1
    outcome = census.close({0: edge, 1: beyond, 2: np.zeros(COUNTS, np.int32), 3: edge})
    dropped = {row.site: row.reason for row in outcome.settlement.manifest.dropped}
    assert dropped == {
        census.sites[1].address.lower(): "range",
        census.sites[2].address.lower(): "malformed",
    }
    # Two that count the same are two that count the same.
    assert (outcome.settlement.model.values == -2 * BOUND).all()
    assert census.audit() == [1]


@STEPS
@pytest.mark.parametrize("place", [0, 127, 128, 255, 256, 299])
def test_right_sum_is_never_overturned(scene: Theatre, place: int, limit: int) -> None:
    census = Census(scene)
    outcome = census.close()
    entries = [entry.pack() for entry in outcome.state.entries]
    updates = [census.params.read_vector(census.store.get(cid)) for cid, _ in outcome.state.objects]
    base, model = np.zeros(COUNTS, np.int64), outcome.settlement.model.values
    rule = census.spec.rule
    evidence = coordinate_evidence(rule, place, b"".join(entries), updates, base, model)
    contested = contested_first(census)
    with pytest.raises(ContractReverted) as caught:
        send_challenge(
            scene.court, scene.parties.auditor, contested, evidence, rule=rule, limit_bytes=limit
        )
    assert caught.value.name == "Court_CoordinateRight"
    assert caught.value.arguments["value"] == model[place]
    assert not census.is_overturned(1)


def contested_first(census: Census) -> Contested:
    closing = dict(census.scene.ward.closings(census.study))[1]
    return Contested(census.study, 1, closing, genesis_closing(census.params.initial_model))


# ---------------------------------------------------------------- the dishonest


@STEPS
@RECORDINGS
def test_wrong_sum_is_found_and_overturned(
    scene: Theatre, recording: Recording, limit: int
) -> None:
    census = Census(scene, recording)
    census.close()
    counts = [census.counts(node, 2) for node in range(SITES)]
    right = np.sum(counts, axis=0)
    wrong = right.copy()
    wrong[PLACE] += 1
    census.cheat(wrong, counts)
    notices = census.auditor(challenge=True, limit_bytes=limit).step()
    assert kinds(notices)[:3] == [
        ("holds", 1, None),
        ("breach", 2, "challengeCoordinate"),
        ("challenged", 2, "challengeCoordinate"),
    ]
    assert census.is_overturned(2)
    proven = [one for one in scene.court.events(census.study) if isinstance(one, Proven)][-1]
    assert proven.details["coordinate"] == PLACE
    assert proven.details["expected"] == right[PLACE] == proven.details["recorded"] - 1


@pytest.mark.parametrize("value", [BOUND + 1, -BOUND - 1, 2**63 - 1, -(2**63)])
def test_sum_of_what_exceeds_the_bound_is_found_and_overturned(scene: Theatre, value: int) -> None:
    census = Census(scene)
    counts = [census.counts(node, 1) for node in range(SITES)]
    counts[1][PLACE] = value
    with np.errstate(over="ignore"):
        census.cheat(np.sum(counts, axis=0), counts)
    assert ("challenged", 1, "challengeUpdate") in kinds(census.auditor(challenge=True).step())
    assert census.is_overturned(1)
    proven = [one for one in scene.court.events(census.study) if isinstance(one, Proven)][-1]
    assert proven.details["fault"] == 4


@pytest.mark.parametrize("index", range(3))
def test_chunks_of_sums_are_demanded_and_shown(scene: Theatre, index: int) -> None:
    census = Census(scene)
    census.close()
    contested, demand = contested_first(census), Demand(What.MODEL, index)
    send_challenge(scene.court, scene.parties.auditor, contested, demand, rule=census.spec.rule)
    identifier = scene.court.demand_id(contested, demand)
    notices = census.auditor(answer=True).step()
    assert ("answered", 1, "answerDemand") in kinds(notices)
    assert scene.court.demand_of(identifier).status is DemandStatus.ANSWERED
    with pytest.raises(ContractReverted) as caught:
        send_challenge(
            scene.court,
            scene.parties.auditor,
            contested,
            Demand(What.MODEL, 3),
            rule=census.spec.rule,
        )
    assert caught.value.name == "Court_TargetUnknown"


@pytest.mark.parametrize("place", [0, COUNTS - 1])
def test_sum_that_is_hidden_is_proven_by_the_first_wrong_chunk_that_is_shown(
    scene: Theatre, place: int
) -> None:
    census = Census(scene)
    counts = [census.counts(node, 1) for node in range(SITES)]
    wrong = np.sum(counts, axis=0)
    wrong[place] += 1
    census.cheat(wrong, counts)
    shown, path = vector_bytes(wrong), census.store.folder / cid_of(vector_bytes(wrong))
    path.unlink()
    auditor = census.auditor(challenge=True)
    assert ("demanded", 1, "demandChunk") in kinds(auditor.step())
    for index in range(place // 128 + 1):
        assert auditor.step() == []
        contested, demand = contested_first(census), Demand(What.MODEL, index)
        identifier = scene.court.demand_id(contested, demand)
        leaf = chunk_leaf(shown, index)
        scene.court.answer_demand(scene.stranger, identifier, contested.closing, leaf)
    assert ("challenged", 1, "challengeCoordinate") in kinds(auditor.step())
    assert census.is_overturned(1)


# ---------------------------------------------------------------- registered contributions


@pytest.mark.parametrize("beyond", [0, 1])
def test_registered_contribution_is_taken_unless_it_exceeds_the_bound(
    scene: Theatre, beyond: int
) -> None:
    census = Census(scene)
    ward, court, stranger = scene.ward, scene.court, scene.stranger
    counts = census.counts(0, 1)
    counts[PLACE] = BOUND + beyond

    def answer(_: float) -> None:
        state = court.standing(census.study, *where)
        if state.unanswered:
            chunks = chunks_from(vector_bytes(counts), state.shown, state.unanswered)
            before = (census.study, 1, position.previous.commitment, entry.pack())
            court.answer_contribution(stranger, *before, chunks)
        scene.chain.advance(60)

    session = census.session(clock=lambda: float(scene.chain.timestamp()), wait=answer)
    position = session.position()
    reply = census.reply(0, position, counts)
    entry = reply.entry
    where = (1, position.previous.commitment, entry.site)
    census.store.put(reply.report)
    ward.contribute(stranger, census.study, 1, position.previous, entry)
    outcome = census.close({0: np.zeros(COUNTS, np.int32)}, session)
    assert (entry in outcome.state.entries) is (beyond == 0)
    assert court.standing(census.study, *where).refused is (beyond == 1)
    assert census.audit() == [1]
    assert kinds(census.auditor(challenge=True).step()) == [("holds", 1, None)]


def test_registered_contribution_beyond_the_bound_that_is_taken_in_is_overturned(
    scene: Theatre,
) -> None:
    census = Census(scene)
    position = census.session().position()
    counts = [census.counts(node, 1) for node in range(SITES)]
    counts[0][PLACE] = BOUND + 1
    entry = census.reply(0, position, counts[0]).entry
    scene.ward.contribute(scene.stranger, census.study, 1, position.previous, entry)
    census.cheat(np.sum(counts, axis=0), counts)
    assert ("challenged", 1, "challengeUpdate") in kinds(census.auditor(challenge=True).step())
    assert census.is_overturned(1)


def test_first_model_of_a_sum_is_nothing(scene: Theatre) -> None:
    census = Census(scene)
    census.close()
    work = StudyAudit(scene.ward, census.study, census.store)
    assert "nothing is counted" in rebuild_first_model(work)
    params = replace(census.params, initial_model=vector_root(bytes(8 * COUNTS - 1) + b"\x01"))
    work.facts = replace(work.facts, params=params)
    with pytest.raises(ReplayFailed):
        rebuild_first_model(work)


@pytest.mark.parametrize(("values", "dtype"), [(np.int32, VECTOR_DTYPE), (np.int64, COUNTS_DTYPE)])
def test_vector_is_sent_with_the_type_of_its_study(values: type, dtype: str) -> None:
    vector = Vector.of(np.arange(-2, 3, dtype=values))
    array = _vector_record(vector)[VECTOR]
    assert (array.dtype, array.shape, array.data) == (dtype, (5,), vector.data)
    assert np.frombuffer(array.data, array.dtype).tolist() == [-2, -1, 0, 1, 2]
