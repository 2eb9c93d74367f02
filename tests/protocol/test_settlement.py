from __future__ import annotations

import numpy as np
import pytest

from tests.protocol.rounds import PARAMETERS, Memory, study_spec
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import contributions_root
from wardround.protocol.errors import OutOfRange, ProtocolError
from wardround.protocol.fixed_point import IntVector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import Dropped, parse_manifest
from wardround.protocol.merkle import vector_root
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
    assert settled.shares == {entry.site: 1000 * entry.weight // total for entry, _, _ in made}
    record = settled.record
    assert record.model == vector_root(vector_bytes(np.array(by_hand, np.int32)))
    assert record.contributions == contributions_root([entry for entry, _, _ in made])
    assert record.manifest == sha256_digest(settled.manifest_data)
    assert (record.count, record.total_weight) == (len(made), total)
    assert record.commitments == commitments_root({})
    assert 997 < sum(settled.shares.values()) <= 1000


def test_site_when_left_out_of_a_round_earns_nothing_by_it() -> None:
    study = Memory()
    away = next(iter(study.keys))
    made = [row for row in study.contributions() if row[0].site != away]
    settled, _ = study.settle(made, [Dropped(site=away.lower(), reason="no_reply", evidence="x")])
    assert settled.shares.keys() == study.keys.keys() - {away}
    assert [row.reason for row in settled.manifest.dropped] == ["no_reply"]


def test_settlement_when_done_twice_gives_equal_bytes() -> None:
    first, second = Memory(), Memory()
    assert first.settle()[0].manifest_data == second.settle()[0].manifest_data
    assert first.objects == second.objects


def test_manifest_when_read_back_gives_the_entries() -> None:
    study = Memory()
    made = study.contributions()
    settled, _ = study.settle(made)
    manifest = parse_manifest(settled.manifest_data)
    assert [row.entry() for row in manifest.contributions] == [entry for entry, _, _ in made]
    assert manifest.committed() == {}
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


@pytest.mark.parametrize("values", [np.arange(-3, 4, dtype=np.int32), np.zeros(3, np.int64)])
def test_vector_when_made_is_in_memory_once(values: IntVector) -> None:
    vector = Vector.of(values)
    assert np.shares_memory(vector.values, np.frombuffer(vector.data, values.dtype))
    assert vector.values.tolist() == values.tolist()
