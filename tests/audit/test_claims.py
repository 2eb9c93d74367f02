"""Payment of what sites have earned: found in manifests or on chain, each round once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.calling import Call
from tests.chain.staged import Theatre, theatre
from wardround.audit import claims
from wardround.audit.audit import StudyAudit
from wardround.audit.claims import (
    Claimable,
    Payment,
    claim_for,
    claimable,
    earned_so_far,
    round_entries,
    rounds_in_words,
)
from wardround.chain.chain import Chain
from wardround.chain.court_reader import CourtReader
from wardround.host.key_file import write_private
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import named_leaves, score_of, split_rows
from wardround.protocol.errors import SpecificationError
from wardround.protocol.evidence import Demand, Leaf, What
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.inspection import chunk_leaf, entry_leaf
from wardround.protocol.manifest import parse_manifest
from wardround.protocol.record import Recording, RuleId
from wardround.protocol.sum_tree import SumTree
from wardround.store.errors import ObjectMissing
from wardround_simulations.stage import (
    CHALLENGE_SECONDS,
    DEMAND_SECONDS,
    REWARD,
    SITES,
    Stage,
)

ROUNDS = 3


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Theatre]:
    with theatre(tmp_path) as staged:
        yield staged


def closed(scene: Theatre, recording: Recording, rule: RuleId = RuleId.MEAN) -> Stage:
    """A study with all its rounds closed, none of them final."""
    stage = scene.stage(recording, rule, rounds=ROUNDS)
    for _ in range(ROUNDS):
        stage.close(scene.parties.first)
    return stage


def hide(stage: Stage, number: int) -> None:
    """Take a round's manifest out of the store."""
    digest = stage.contract.closed(stage.study, number).closing.record.manifest
    (Path(stage.store.folder) / cid_from_sha256(digest)).unlink()


def paid(scene: Theatre, stage: Stage) -> dict[str, list[Payment]]:
    found = claimable(scene.ward, stage.study, stage.store)
    payer = scene.stranger
    return {
        site: list(claim_for(scene.ward, payer, stage.study, found, site)) for site in found.sites()
    }


@pytest.mark.parametrize("rule", [RuleId.MEAN, RuleId.CLIPPED_MEAN])
@pytest.mark.parametrize("recording", list(Recording))
def test_sites_are_paid_each_round_once_with_nothing_left_but_rounding(
    scene: Theatre, recording: Recording, rule: RuleId
) -> None:
    stage = closed(scene, recording, rule)
    with pytest.raises(SpecificationError, match="not final before"):
        claimable(scene.ward, stage.study, stage.store)
    scene.chain.advance(CHALLENGE_SECONDS)
    earned = earned_so_far(scene.ward, stage.study, stage.store)
    payments = paid(scene, stage)
    assert len(payments) == SITES
    for site, (payment,) in payments.items():
        assert list(payment.amounts) == [1, 2, 3]
        assert payment.payout == scene.ward.site(stage.study, site).payout
        assert payment.amount == earned[site] == scene.ward.claimed(stage.study, site)
    for number in range(1, ROUNDS + 1):
        amount, count = scene.ward.paid_of(stage.study, number)
        assert count == SITES
        assert 0 <= REWARD - amount < SITES
    assert all(not again for again in paid(scene, stage).values())


def test_scores_are_paid_and_not_weights(scene: Theatre) -> None:
    stage = closed(scene, Recording.ROOT, RuleId.CLIPPED_MEAN)
    scene.chain.advance(CHALLENGE_SECONDS)
    found = claimable(scene.ward, stage.study, stage.store)
    one = found.rounds[0]
    assert one.scores is not None
    scores = [score_of(row) for row in one.scores.rows.values()]
    assert len(set(scores)) == SITES
    assert list(one.shares(REWARD).values()) == [REWARD * it // sum(scores) for it in scores]
    for site, share in one.shares(REWARD).items():
        earning = one.earning(site)
        assert earning is not None
        assert earning.share(REWARD) == share
        # The weights are all equal.
        assert share != REWARD // SITES
        assert replace(earning, score=None).share(REWARD) == REWARD // SITES


def test_scores_that_are_nowhere_are_named_and_other_rounds_paid(scene: Theatre) -> None:
    stage = closed(scene, Recording.FULL, RuleId.CLIPPED_MEAN)
    scene.chain.advance(CHALLENGE_SECONDS)
    digest = scene.ward.closed(stage.study, 2).closing.record.manifest
    manifest = parse_manifest(stage.store.get(cid_from_sha256(digest)))
    (Path(stage.store.folder) / manifest.commitments["scores"].cid).unlink()
    found = claimable(scene.ward, stage.study, stage.store)
    assert ([one.round for one in found.rounds], found.hidden) == ([1, 3], [2])
    assert found.left_out()[0].startswith("round 2: not all entries and scores are shown")
    for (payment,) in paid(scene, stage).values():
        assert list(payment.amounts) == [1, 3]
    with pytest.raises(ObjectMissing):
        earned_so_far(scene.ward, stage.study, stage.store)


def test_score_that_only_answers_show_is_paid(scene: Theatre) -> None:
    """A site's own row and the last one: its share follows from the two."""
    stage = closed(scene, Recording.FULL, RuleId.CLIPPED_MEAN)
    audited = list(StudyAudit(scene.ward, stage.study, stage.store).rounds())
    manifest, count = audited[1].manifest, stage.params.parameter_count
    roots, entries, cid = (
        manifest.committed(),
        manifest.contributions,
        manifest.commitments["scores"].cid,
    )
    contested, rows = scene.contested(stage, 2), split_rows("scores", stage.store.get(cid))
    (Path(stage.store.folder) / cid).unlink()
    before, after = (
        vector_from_bytes(stage.store.get(one.manifest.model.cid), count) for one in audited[:2]
    )
    change = after - before
    named = entry_leaf(named_leaves(roots), sorted(roots).index("scores"))
    for index in (0, SITES - 1):
        update = vector_from_bytes(stage.store.get(entries[index].update.cid), count)
        page = chunk_leaf(SumTree.of_products(update, change).data, 0)
        demand = Demand(What.SCORES, 0, row=index)
        scene.court.approve_deposit(scene.stranger, stage.study)
        scene.court.demand_chunk(scene.stranger, contested, demand)
        opening = named.opening + entry_leaf(rows, index).opening + page.opening
        key, shown = scene.court.demand_id(contested, demand), Leaf(0, opening, ())
        scene.court.answer_demand(scene.parties.auditor, key, contested.closing, shown)
    scene.chain.advance(CHALLENGE_SECONDS + DEMAND_SECONDS)
    found = claimable(scene.ward, stage.study, stage.store)
    assert found.hidden == [2]
    payments = paid(scene, stage)
    sites = list(audited[1].shares)
    for place, site in enumerate(sites):
        (payment,) = payments[site]
        assert list(payment.amounts) == ([1, 2, 3] if place in (0, SITES - 1) else [1, 3])
        assert payment.amounts.get(2) in (None, audited[1].shares[site])


def test_round_that_became_final_since_is_paid_alone(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = scene.stage(Recording.FULL, rounds=ROUNDS)
    for number in range(1, ROUNDS + 1):
        stage.close(scene.parties.first)
        scene.chain.advance(CHALLENGE_SECONDS)
        if number == 1:
            assert {tuple(one.amounts) for (one,) in paid(scene, stage).values()} == {(1,)}
    monkeypatch.setattr(claims, "ROUNDS_AT_ONCE", 1)
    for several in paid(scene, stage).values():
        assert [tuple(one.amounts) for one in several] == [(2,), (3,)]


def test_entries_are_read_from_the_chain_where_the_store_lacks_them(scene: Theatre) -> None:
    stage = closed(scene, Recording.FULL)
    scene.chain.advance(CHALLENGE_SECONDS)
    for number in range(1, ROUNDS + 1):
        hide(stage, number)
    for (payment,) in paid(scene, stage).values():
        assert list(payment.amounts) == [1, 2, 3]


def test_entries_that_are_nowhere_are_named_and_the_others_paid(scene: Theatre) -> None:
    stage = closed(scene, Recording.ROOT)
    scene.chain.advance(CHALLENGE_SECONDS)
    hide(stage, 2)
    found = claimable(scene.ward, stage.study, stage.store)
    assert ([one.round for one in found.rounds], found.hidden) == ([1, 3], [2])
    for (payment,) in paid(scene, stage).values():
        assert list(payment.amounts) == [1, 3]
    with pytest.raises(ObjectMissing):
        earned_so_far(scene.ward, stage.study, stage.store)
    hide(stage, 1)
    hide(stage, 3)
    with pytest.raises(ObjectMissing):
        claimable(scene.ward, stage.study, stage.store)


def show(scene: Theatre, stage: Stage, indices: Iterable[int]) -> list[bytes]:
    """Answer demands for entries of round 2, as any account can that has them."""
    contested, packed = scene.contested(stage, 2), entries_of(scene, stage, 2)
    for index in indices:
        demand = Demand(What.ENTRY, index)
        scene.court.approve_deposit(scene.stranger, stage.study)
        scene.court.demand_chunk(scene.stranger, contested, demand)
        name = scene.court.demand_id(contested, demand)
        scene.court.answer_demand(
            scene.parties.auditor, name, contested.closing, entry_leaf(packed, index)
        )
    return packed


def entries_of(scene: Theatre, stage: Stage, number: int) -> list[bytes]:
    closing = scene.ward.closed(stage.study, number).closing
    return list(round_entries(scene.ward, stage.study, stage.store, number, closing).packed)


def test_entry_that_only_an_answer_on_chain_shows_is_paid(scene: Theatre) -> None:
    stage = closed(scene, Recording.ROOT)
    packed = show(scene, stage, [2, 0])
    hide(stage, 2)
    # By time, the round is not final before what was demanded can be used.
    scene.chain.advance(DEMAND_SECONDS + 2 * CHALLENGE_SECONDS)
    found = claimable(scene.ward, stage.study, stage.store)
    assert ([one.round for one in found.rounds], found.hidden) == ([1, 2, 3], [2])
    shown = {"0x" + packed[index][:20].hex() for index in (0, 2)}
    for site, (payment,) in paid(scene, stage).items():
        assert list(payment.amounts) == [1, 2, 3] if site.lower() in shown else [1, 3]
    with pytest.raises(ObjectMissing):
        earned_so_far(scene.ward, stage.study, stage.store)


def test_claim_command_names_rounds_of_which_entries_are_missing(
    scene: Theatre, call: Call
) -> None:
    stage = closed(scene, Recording.ROOT)
    packed = show(scene, stage, [1])
    hide(stage, 2)
    scene.chain.advance(DEMAND_SECONDS + 2 * CHALLENGE_SECONDS)
    write_private(Path("any.key"), scene.stranger.key.hex())
    where = ["--chain", scene.chain.url, "--contract", scene.ward.address]
    where += ["--store", str(stage.store.folder), "--key", "any.key"]
    said = call("claim", hex_of(stage.study), *where).good
    shown = "0x" + packed[1][:20].hex()
    assert [
        line.split()[0].lower() for line in said.splitlines() if "for rounds 1 to 3" in line
    ] == [f"{shown}:"]
    assert said.count("for rounds 1 and 3") == SITES - 1
    assert "round 2: not all entries are shown" in said


def test_entries_that_answers_show_together_need_no_store(scene: Theatre) -> None:
    stage = closed(scene, Recording.ROOT)
    packed = show(scene, stage, range(SITES))
    hide(stage, 2)
    assert entries_of(scene, stage, 2) == packed


def test_entry_that_an_answer_shows_has_its_path_without_the_transaction(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = closed(scene, Recording.ROOT)
    packed = show(scene, stage, [1])
    # Of an answer through another contract, the transaction shows no calldata of the court.
    closing = scene.ward.closed(stage.study, 2).closing
    monkeypatch.setattr(Chain, "transaction", lambda *_: None)
    (leaf,) = CourtReader(scene.ward).shown_entries(stage.study, 2, closing)
    assert leaf == entry_leaf(packed, 1)


def test_answer_about_an_overturned_closing_is_not_taken(scene: Theatre) -> None:
    stage = closed(scene, Recording.ROOT)
    show(scene, stage, [0])
    closing = scene.ward.closed(stage.study, 2).closing
    other = replace(closing, closed_at=closing.closed_at + 1)
    court = CourtReader(scene.ward)
    assert [leaf.index for leaf in court.shown_entries(stage.study, 2, closing)] == [0]
    assert court.shown_entries(stage.study, 2, other) == []
    assert court.shown_entries(stage.study, 3, closing) == []


def test_site_without_an_entry_has_no_earning(scene: Theatre) -> None:
    stage = closed(scene, Recording.ROOT)
    closing = scene.ward.closed(stage.study, 1).closing
    found = round_entries(scene.ward, stage.study, stage.store, 1, closing)
    assert found.earning(scene.stranger.address) is None
    assert len(found.packed) == closing.record.count == SITES


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([3], "round 3"), ([1, 2, 3], "rounds 1 to 3"), ([1, 3, 4], "rounds 1, 3 and 4")],
)
def test_rounds_are_named_shortly(numbers: list[int], words: str) -> None:
    assert rounds_in_words(numbers) == words


def test_rounds_that_wait_are_named() -> None:
    assert Claimable([], [], [], 1).left_out() == []
    hidden, waiting = Claimable([], [3], range(4, 6), 1).left_out()
    assert hidden.startswith("round 3: not all entries are shown")
    assert waiting == "rounds 4 to 5: closed and not final yet: claim later"
