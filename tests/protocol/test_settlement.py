from __future__ import annotations

import numpy as np
import pytest
from eth_abi import encode
from eth_utils import keccak

from tests.protocol.rounds import PARAMETERS, Memory, random_update, study_spec, verify_claim
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import contributions_root
from wardround.protocol.errors import OutOfRange, ProtocolError
from wardround.protocol.fixed_point import vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import Dropped, parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.rewards import reward_tree
from wardround.protocol.scoring import ALIGNMENT_ONE
from wardround.protocol.settlement import Vector


def test_settlement_when_computed_by_hand() -> None:
    study = Memory(study_spec(rewards={"scoring": "examples"}))
    made = study.contributions()
    settled, _ = study.settle(made)
    weights = [entry.weight for entry, _, _ in made]
    updates = [study.update(cid).astype(object) for _, cid, _ in made]
    total = sum(weights)
    # Python's integers do not overflow, and its // rounds towards minus infinity.
    by_hand = [
        int(base) + sum(w * int(u[i]) for w, u in zip(weights, updates, strict=True)) // total
        for i, base in enumerate(study.base.values.tolist())
    ]
    assert settled.model.values.tolist() == by_hand
    assert settled.scores == {entry.site: entry.weight for entry, _, _ in made}
    assert settled.shares == {entry.site: 1000 * entry.weight // total for entry, _, _ in made}
    assert settled.earned == settled.shares
    record = settled.record
    assert record.model == vector_root(vector_bytes(np.array(by_hand, np.int32)))
    assert record.contributions == contributions_root([entry for entry, _, _ in made])
    assert record.manifest == sha256_digest(settled.manifest_data)
    assert (record.count, record.total_weight) == (len(made), total)
    assert record.reward_total == sum(settled.shares.values()) <= 1000


def test_settlement_when_done_twice_gives_equal_bytes() -> None:
    first, second = Memory(), Memory()
    assert first.settle()[0].manifest_data == second.settle()[0].manifest_data
    assert first.objects == second.objects


def test_rewards_when_rounds_follow_each_other() -> None:
    study = Memory()
    expected: dict[str, int] = {}
    for _ in range(3):
        settled, _ = study.settle()
        for site, share in settled.shares.items():
            expected[site] = expected.get(site, 0) + share
        study.go_on(settled)
        assert settled.earned == expected
        assert settled.record.reward_total == sum(expected.values())
        tree = reward_tree(settled.earned)
        assert tree.root == settled.record.rewards
        for site, amount in expected.items():
            leaf = keccak(keccak(encode(["address", "uint256"], [site, amount])))
            assert leaf in tree.nodes
            assert verify_claim(tree.root, site, amount, tree.proof(site))


def test_earlier_earnings_stay_when_a_site_is_away() -> None:
    study = Memory()
    settled, _ = study.settle()
    study.go_on(settled)
    away = next(iter(study.keys))
    made = [row for row in study.contributions() if row[0].site != away]
    later, _ = study.settle(made, [Dropped(site=away.lower(), reason="no_reply", evidence="x")])
    assert later.earned[away] == settled.earned[away] > 0
    assert [row.reason for row in later.manifest.dropped] == ["no_reply"]


def test_manifest_when_read_back_gives_the_entries() -> None:
    study = Memory()
    made = study.contributions()
    settled, _ = study.settle(made)
    manifest = parse_manifest(settled.manifest_data)
    assert [row.entry() for row in manifest.contributions] == [entry for entry, _, _ in made]
    assert manifest.earned() == settled.earned
    assert manifest.study == hex_of(study.facts.study)
    assert manifest.parameters == PARAMETERS
    assert vector_from_bytes(study.objects[manifest.model.cid], PARAMETERS).tolist() == (
        settled.model.values.tolist()
    )


def test_dropped_rows_when_given_in_any_order_are_sorted() -> None:
    study = Memory(sites=4)
    first, second = sorted(site.lower() for site in list(study.keys)[:2])
    rows = [Dropped(site=site, reason="range", evidence="x") for site in (second, first)]
    made = [row for row in study.contributions() if row[0].site.lower() not in (first, second)]
    assert study.settle(made, rows)[0].manifest_data == (
        study.settle(made, rows[::-1])[0].manifest_data
    )


def test_scores_when_a_site_points_the_other_way() -> None:
    study = Memory()
    honest, also, bad = study.keys
    update = random_update(1)
    made = [
        study.contribution(honest, update, 10),
        study.contribution(also, update.copy(), 10),
        study.contribution(bad, -update, 1),
    ]
    settled, _ = study.settle(sorted(made, key=lambda row: row[0].site.lower()))
    assert settled.scores[bad] == settled.shares[bad] == 0
    # Parts per million, rounded down: a floor may take one off a cosine of 1.
    assert settled.scores[honest] >= ALIGNMENT_ONE - 2
    assert settled.shares[honest] == settled.shares[also] == 500


def test_overflow_when_the_model_leaves_int32_is_an_error() -> None:
    study = Memory()
    study.base = Vector.of(np.full(PARAMETERS, 2**31 - 1, np.int32))
    up = np.ones(PARAMETERS, np.int32)
    made = [study.contribution(site, up) for site in study.keys]
    with pytest.raises(OutOfRange, match="model is"):
        study.settle(sorted(made, key=lambda row: row[0].site.lower()))


@pytest.mark.parametrize("weight", [0, 2**31])
def test_weight_when_out_of_range_is_an_error(weight: int) -> None:
    study = Memory()
    made = study.contributions()
    entry = made[0][0]
    bad = study.contribution(entry.site, weight=weight)
    with pytest.raises(ProtocolError):
        study.settle([bad, *made[1:]])
