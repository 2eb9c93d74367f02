"""Entries in calldata that Solidity takes and that no library writes: padding dirty, or cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.audit.test_auditor import auditor_of, challenger, kinds
from tests.chain.staged import Theatre, theatre
from wardround.chain.contract import Call
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import contributions_root, pack_entries, total_weight
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.record import Recording, RuleId
from wardround_simulations.cheats import SHIFTED, Cheater
from wardround_simulations.stage import Stage, specification

ODD = ("dirty", "cut")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("calldata"), studies=6) as opened:
        yield opened


def odd(call: Call, packed: bytes, how: str) -> Call:
    padding = -len(packed) % 32
    assert padding
    data = call.data[:-1] + b"\x01" if how == "dirty" else call.data[:-padding]
    return replace(call, data=data)


@pytest.mark.parametrize("how", ODD)
def test_false_model_without_a_manifest_is_proven_from_odd_calldata(
    scene: Theatre, how: str
) -> None:
    stage = scene.stage(Recording.FULL)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    values = cheater.draft().model.values.copy()
    values[SHIFTED] += 1
    draft = cheater.draft().with_model(values)
    for data in (draft.model.data, *(vector_bytes(row.update) for row in draft.rows)):
        stage.store.put(data)
    cheater._reach_cut_off()
    record = replace(draft.record, manifest=sha256_digest(draft.manifest.encode()))
    packed = pack_entries([row.entry for row in draft.rows])
    previous = cheater.position.previous.abi()
    call = scene.ward._call("closeRound", stage.study, 2, record.abi(), previous, packed)
    scene.chain.send(scene.parties.first, odd(call, packed, how), "close round 2")
    assert scene.ward.closed(stage.study, 2).entries == packed
    notices = auditor_of(scene, stage, challenger(scene)).step()
    assert ("challenged", 2) in kinds(notices)
    assert scene.ward.seat(stage.study, scene.parties.first.address).barred


@pytest.mark.parametrize("how", ODD)
def test_locked_entries_are_read_from_odd_calldata(scene: Theatre, how: str) -> None:
    spec = specification(f"odd-{how}", Recording.FULL, RuleId.MEAN, rounds=3, quorum=0)
    spec = spec.model_copy(update={"chain": spec.chain.model_copy(update={"locked_cohort": True})})
    stage = Stage(scene.ward, scene.token, scene.parties, spec, scene.folder / f"odd-{how}")
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    cheater._reach_cut_off()
    entries = [row.entry for row in cheater.rows]
    packed = pack_entries(entries)
    cohort = (contributions_root(entries), len(entries), total_weight(entries))
    previous = cheater.position.previous.abi()
    call = scene.ward._call("lockCohort", stage.study, 2, cohort, previous, packed)
    scene.chain.send(scene.parties.first, odd(call, packed, how), "lock round 2")
    assert scene.ward.locked_entries(stage.study, 2) == packed


def test_calldata_that_repeats_one_part_is_not_unfolded(scene: Theatre) -> None:
    contract = scene.ward.contract
    selector = contract.function("attest", bytes(32), 1, _closing(scene), []).data[:4]
    closing = contract.function("attest", bytes(32), 1, _closing(scene), []).data[4:]
    head = closing[:-64]
    count = 1000
    # All offsets lead to the same attestation of 100,000 bytes.
    one = bytes(32) + (64).to_bytes(32, "big") + (100_000).to_bytes(32, "big") + bytes(100_000)
    array = count.to_bytes(32, "big") + (32 * count).to_bytes(32, "big") * count + one
    offset = (len(head) + 32).to_bytes(32, "big")
    assert contract.arguments(selector + head + offset + array) is None
    assert contract.arguments(b"none") is None


def _closing(scene: Theatre) -> tuple[object, ...]:
    stage = scene.stage()
    stage.close(scene.parties.first)
    return scene.ward.last_closing(stage.study).abi()
