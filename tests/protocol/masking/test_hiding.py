"""What a collusion of coordinator, one helper and all sites but two sees: the cohort's sum alone.

The proof is constructive. Whatever the honest sites' updates are, there are streams of the set that
the helper does not hold under which the collusion sees the same bytes. Streams are truly random
here (`Ideal`), commitments and seals are left out: both are assumed to hide what is in them.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from wardround.protocol.fixed_point import Int32Vector
from wardround.protocol.masking import streams
from wardround.protocol.masking.aggregate import MaskedMean
from wardround.protocol.masking.contribution import mask
from wardround.protocol.masking.ratchet import HELPERS, SETS
from wardround.protocol.masking.streams import RingVector, Segments
from wardround.protocol.masking.unmasking import mask_sum, ring_root

PARAMETERS = 300
SEGMENTS = Segments(PARAMETERS, 10)
BOUND = 2**20


class Ideal:
    """Key streams that are looked up: each key has random bytes, which a test can choose again."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.table: dict[bytes, RingVector] = {}

    def __call__(self, key: bytes) -> Ideal.Reader:
        return Ideal.Reader(self.of(key))

    def of(self, key: bytes) -> RingVector:
        size = SEGMENTS.coordinates_each
        if key not in self.table:
            self.table[key] = self.rng.integers(0, 2**64, size, np.uint64, endpoint=False)
        return self.table[key]

    class Reader:
        """As much of a cipher as `add_stream` uses."""

        def __init__(self, words: RingVector) -> None:
            self.data = words.tobytes()

        def update_into(self, data: memoryview, buffer: memoryview) -> None:
            assert data == bytes(len(data))
            buffer[:] = self.data[: len(data)]
            self.data = self.data[len(data) :]


@pytest.fixture
def ideal(monkeypatch: pytest.MonkeyPatch) -> Ideal:
    found = Ideal(np.random.default_rng(5))
    monkeypatch.setattr(streams, "key_stream", found)
    return found


def keys_of(site: int, number: int) -> list[bytes]:
    return [bytes([site, number, segment]).ljust(32, b"\0") for segment in range(SEGMENTS.count)]


def view(
    updates: list[Int32Vector],
    weights: list[int],
    helper: int,
    corrupt: set[int],
    ideal: Ideal,
    cohorts: list[list[int]] | None = None,
) -> list[bytes]:
    """All that the collusion sees of a round: bytes, in one order.

    Args:
        cohorts: for which the helpers answer; one in the protocol, the whole.
    """
    masked = [
        mask(update, SEGMENTS, [keys_of(site, number) for number in SETS])
        for site, update in enumerate(updates)
    ]
    seen = [one.tobytes() for one in masked] + [ring_root(one) for one in masked]
    # The streams of the sets that the helper holds, and everything of sites that collude.
    for site, update in enumerate(updates):
        for number in SETS:
            if number != helper or site in corrupt:
                seen += [ideal.of(key).tobytes() for key in keys_of(site, number)]
        if site in corrupt:
            seen.append(update.tobytes())
    for cohort in cohorts or [list(range(len(updates)))]:
        mean = MaskedMean(PARAMETERS, BOUND)
        for site in cohort:
            mean.add(masked[site], weights[site])
        for number in SETS:
            held = mask_sum(SEGMENTS, [(weights[site], keys_of(site, number)) for site in cohort])
            seen.append(held.tobytes())
            mean.unmask(number, held)
        seen.append(mean.finish().tobytes())
    return seen


def choose_again(ideal: Ideal, number: int, site: int, before: Any, after: Any) -> None:
    """Give a site the stream under which another update is masked to the same bytes."""
    change = np.zeros(SEGMENTS.count * SEGMENTS.coordinates_each, np.int64)
    change[:PARAMETERS] = before.astype(np.int64) - after
    parts = change.view(np.uint64).reshape(SEGMENTS.count, -1)
    for key, part in zip(keys_of(site, number), parts, strict=True):
        ideal.table[key] = ideal.of(key) + part


def other_updates(
    updates: list[Int32Vector], weights: list[int], pair: tuple[int, int], rng: np.random.Generator
) -> list[Int32Vector]:
    """Other updates of two sites, with the same weighted sum."""
    first, second = pair
    steps = rng.integers(-1000, 1000, PARAMETERS)
    found = list(updates)
    found[first] = (updates[first] + steps * weights[second]).astype(np.int32)
    found[second] = (updates[second] - steps * weights[first]).astype(np.int32)
    return found


def drawn(sites: int, rng: np.random.Generator) -> tuple[list[Int32Vector], list[int]]:
    updates = [rng.integers(-5000, 5000, PARAMETERS).astype(np.int32) for _ in range(sites)]
    return updates, [int(weight) for weight in rng.integers(1, 65, sites)]


@pytest.mark.parametrize("helper", range(HELPERS))
@pytest.mark.parametrize("sites", [2, 3, 4, 5])
def test_view_of_every_collusion_fits_other_updates_with_the_same_sum(
    ideal: Ideal, sites: int, helper: int
) -> None:
    rng = np.random.default_rng(100 * sites + helper)
    updates, weights = drawn(sites, rng)
    for pair in combinations(range(sites), 2):
        corrupt = set(range(sites)) - set(pair)
        before = view(updates, weights, helper, corrupt, ideal)
        others = other_updates(updates, weights, pair, rng)
        assert not np.array_equal(others[pair[0]], updates[pair[0]])
        for site in pair:
            choose_again(ideal, helper, site, updates[site], others[site])
        assert view(others, weights, helper, corrupt, ideal) == before


def test_updates_with_another_sum_are_seen(ideal: Ideal) -> None:
    """The sum itself is opened: what re-choosing streams must not be able to hide."""
    rng = np.random.default_rng(1)
    updates, weights = drawn(3, rng)
    before = view(updates, weights, 0, {2}, ideal)
    others = [updates[0] + np.int32(1), *updates[1:]]
    choose_again(ideal, 0, 0, updates[0], others[0])
    assert view(others, weights, 0, {2}, ideal) != before


def test_two_opened_cohorts_give_an_update_away(ideal: Ideal) -> None:
    """Without a lock that is opened once: no stream fits other updates any more."""
    rng = np.random.default_rng(2)
    updates, weights = drawn(3, rng)
    opened = [[0, 1, 2], [1, 2]]
    before = view(updates, weights, 0, {2}, ideal, opened)
    others = other_updates(updates, weights, (0, 1), rng)
    for site in (0, 1):
        choose_again(ideal, 0, site, updates[site], others[site])
    assert view(others, weights, 0, {2}, ideal, opened) != before


def test_two_helpers_read_every_update(ideal: Ideal) -> None:
    """So a guard names two of the three that it trusts."""
    rng = np.random.default_rng(3)
    updates, _ = drawn(3, rng)
    masked = mask(updates[0], SEGMENTS, [keys_of(0, number) for number in SETS])
    # Helper 0 holds sets 1 and 2, helper 1 the sets 0 and 2.
    held = [mask_sum(SEGMENTS, [(1, keys_of(0, number))]) for number in SETS]
    assert np.array_equal((masked - sum(held)).view(np.int64), updates[0])


def test_stream_that_serves_twice_gives_the_difference_away(ideal: Ideal) -> None:
    rng = np.random.default_rng(4)
    updates, _ = drawn(2, rng)
    keys = [keys_of(0, number) for number in SETS]
    one, other = (mask(update, SEGMENTS, keys) for update in updates)
    assert np.array_equal((one - other).view(np.int64), updates[0].astype(np.int64) - updates[1])
