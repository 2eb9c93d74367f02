"""Payment of what sites have earned: found in manifests or on chain, each round once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.staged import Theatre, theatre
from wardround.audit import claims
from wardround.audit.claims import (
    Payment,
    claim_for,
    claimable,
    earned_so_far,
    round_entries,
    rounds_in_words,
)
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import SpecificationError
from wardround.protocol.record import Recording
from wardround.store.errors import ObjectMissing
from wardround_simulations.stage import CHALLENGE_SECONDS, REWARD, SITES, Stage

ROUNDS = 3


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Theatre]:
    with theatre(tmp_path) as staged:
        yield staged


def closed(scene: Theatre, recording: Recording) -> Stage:
    """A study with all its rounds closed, none of them final."""
    stage = scene.stage(recording, rounds=ROUNDS)
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


@pytest.mark.parametrize("recording", list(Recording))
def test_sites_are_paid_each_round_once_with_nothing_left_but_rounding(
    scene: Theatre, recording: Recording
) -> None:
    stage = closed(scene, recording)
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
