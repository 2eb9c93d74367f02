"""The mean of masked updates: that of clear ones with the same weights, or void."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.masking import VECTORS, read
from wardround.protocol.errors import Malformed, OutOfRange, ProtocolError
from wardround.protocol.masking.aggregate import MaskedMean
from wardround.protocol.masking.contribution import mask, masked_from_bytes
from wardround.protocol.masking.ratchet import SETS
from wardround.protocol.masking.streams import Segments
from wardround.protocol.masking.unmasking import mask_sum
from wardround.protocol.rules import mean_floor

BOUND = 2**31 - 1


@pytest.mark.parametrize("vector", VECTORS["rounds"], ids=lambda v: str(v["parameters"]))
def test_mean_is_that_of_the_vectors(vector: dict[str, Any]) -> None:
    parameters = vector["parameters"]
    mean = MaskedMean(parameters, vector["bound"])
    for data, weight in zip(vector["masked"], vector["weights"], strict=True):
        mean.add(masked_from_bytes(read(data), parameters), weight)
    for number, data in enumerate(vector["mask_sums"]):
        mean.unmask(number, masked_from_bytes(read(data), parameters))
    if vector["mean"] is None:
        with pytest.raises(OutOfRange, match="closes void") as raised:
            mean.finish()
        assert raised.value.index == vector["spoilt"] == 133
    else:
        assert mean.finish().tolist() == vector["mean"]


ROUNDS = st.integers(1, 5).flatmap(
    lambda sites: st.integers(1, 300).flatmap(
        lambda parameters: st.tuples(
            st.lists(st.integers(1, 64), min_size=sites, max_size=sites),
            st.just(parameters),
            st.sampled_from([1, 5, 4096, 2**20, BOUND]),
            st.randoms(use_true_random=False),
        )
    )
)


@settings(deadline=None, max_examples=60)
@given(ROUNDS)
def test_mean_is_that_of_clear_updates(drawn: tuple[list[int], int, int, Any]) -> None:
    """Coordinate for coordinate, in any order of contributions and sets."""
    weights, parameters, bound, source = drawn
    segments, rng = Segments(parameters, 3), np.random.default_rng(source.getrandbits(64))
    updates = [
        rng.choice(
            [-bound, -1, 0, 1, bound, int(rng.integers(-bound, bound, endpoint=True))], parameters
        ).astype(np.int32)
        for _ in weights
    ]
    keys = [[[rng.bytes(32) for _ in range(segments.count)] for _ in SETS] for _ in weights]
    mean = MaskedMean(parameters, bound)
    order = list(range(len(weights)))
    source.shuffle(order)
    for place in order:
        mean.add(mask(updates[place], segments, keys[place]), weights[place])
    for number in source.sample(SETS, len(SETS)):
        held = [(weight, one[number]) for weight, one in zip(weights, keys, strict=True)]
        mean.unmask(number, mask_sum(segments, held))
    found = mean.finish()
    assert found.dtype == np.int32
    assert np.array_equal(found, mean_floor(updates, weights))


def plain(updates: list[list[int]], weights: list[int], bound: int = BOUND) -> MaskedMean:
    """A sum under masks of zero."""
    mean = MaskedMean(len(updates[0]), bound)
    for update, weight in zip(updates, weights, strict=True):
        mean.add(np.array(update, np.int64).view(np.uint64), weight)
    for number in SETS:
        mean.unmask(number, np.zeros(len(updates[0]), np.uint64))
    return mean


def test_bound_itself_is_within() -> None:
    assert plain([[7, -7], [7, -7]], [3, 64], 7).finish().tolist() == [7, -7]


@pytest.mark.parametrize("value", [8, -8, 2**62, -(2**63), 2**63 - 1])
def test_sum_beyond_the_bound_names_its_first_coordinate(value: int) -> None:
    size = 70_000
    update = [0] * size
    update[65_999] = update[69_000] = value
    with pytest.raises(OutOfRange, match="coordinate 65999 of the unmasked sum") as raised:
        plain([update], [1], 7).finish()
    assert (raised.value.index, raised.value.value) == (65_999, value)


def test_one_wrong_mask_leaves_the_bound() -> None:
    segments = Segments(1000, 1)
    keys = [[bytes([s, t]) * 16 for t in range(segments.count)] for s in SETS]
    mean = MaskedMean(1000, 2**20)
    mean.add(mask(np.zeros(1000, np.int32), segments, keys), 1)
    for number in SETS:
        wrong = [bytes(32), *keys[number][1:]] if number == 1 else keys[number]
        mean.unmask(number, mask_sum(segments, [(1, wrong)]))
    with pytest.raises(OutOfRange):
        mean.finish()


def test_sum_is_not_given_before_all_sets_are_opened() -> None:
    mean = MaskedMean(2, 7)
    with pytest.raises(ProtocolError, match="no updates"):
        mean.finish()
    mean.add(np.zeros(2, np.uint64), 1)
    for number in (0, 2):
        mean.unmask(number, np.zeros(2, np.uint64))
    with pytest.raises(ProtocolError, match="masks of set 1"):
        mean.finish()
    with pytest.raises(Malformed, match="set 2"):
        mean.unmask(2, np.zeros(2, np.uint64))
    with pytest.raises(Malformed, match="set 3"):
        mean.unmask(3, np.zeros(2, np.uint64))
    mean.unmask(1, np.zeros(2, np.uint64))
    assert mean.finish().tolist() == [0, 0]


def test_wrong_terms_add_nothing() -> None:
    mean = MaskedMean(2, BOUND)
    for weight in (0, 65):
        with pytest.raises(ProtocolError, match="weight"):
            mean.add(np.zeros(2, np.uint64), weight)
    with pytest.raises(ProtocolError, match="3 elements"):
        mean.add(np.zeros(3, np.uint64), 1)
    with pytest.raises(ProtocolError, match="1 elements"):
        mean.unmask(0, np.zeros(1, np.uint64))
    with pytest.raises(ProtocolError, match="no updates"):
        mean.finish()


@pytest.mark.parametrize("bound", [0, -1, 2**31])
def test_bounds_that_no_study_has_are_refused(bound: int) -> None:
    with pytest.raises(Malformed, match="update bound"):
        MaskedMean(1, bound)


def test_total_weight_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardround.protocol.masking.aggregate.SUM_LIMIT", 64 * BOUND)
    mean = MaskedMean(1, BOUND)
    mean.add(np.zeros(1, np.uint64), 63)
    with pytest.raises(ProtocolError, match="total weight"):
        mean.add(np.zeros(1, np.uint64), 1)
