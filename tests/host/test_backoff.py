from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from wardround.host.backoff import pauses


def test_each_pause_is_twice_the_last_up_to_the_cap() -> None:
    assert list(islice(pauses(1.0, 5.0, lambda: 0.0), 5)) == [1.0, 2.0, 4.0, 5.0, 5.0]


@given(st.floats(0.001, 10), st.floats(10, 100))
def test_jitter_only_shortens(first: float, longest: float) -> None:
    for exact, drawn in islice(
        zip(pauses(first, longest, lambda: 0.0), pauses(first, longest), strict=True), 10
    ):
        assert 0.8 * exact <= drawn <= exact <= longest
