"""How much is asked for at once, after answers and refusals."""

from hypothesis import given
from hypothesis import strategies as st

from wardround.chain.allowance import Allowance


def refusals(limit: int, parts: int, allowance: Allowance) -> int:
    """How often an endpoint with a fixed limit refuses on the way to so many answers."""
    refused = 0
    while parts:
        asked = allowance.part_of(10**9)
        if asked > limit:
            refused += 1
            allowance.refused(asked, None)
        else:
            parts -= 1
            allowance.answered(asked)
    return refused


def test_everything_is_asked_for_until_something_is_refused() -> None:
    allowance = Allowance()
    allowance.answered(5)
    assert allowance.part_of(1000) == 1000


def test_what_an_endpoint_states_counts_else_half() -> None:
    stated, halved = Allowance(), Allowance()
    stated.refused(1000, 30)
    halved.refused(1001, None)
    assert (stated.part_of(1000), halved.part_of(1000)) == (30, 501)
    assert stated.part_of(7) == 7


def test_next_query_does_not_start_from_the_top() -> None:
    allowance = Allowance()
    assert refusals(1000, 1, allowance) == 20
    assert refusals(1000, 5, allowance) == 0


@given(limit=st.integers(1, 10**6), parts=st.integers(1, 2000))
def test_refusals_of_a_fixed_limit_grow_with_the_logarithm(limit: int, parts: int) -> None:
    assert refusals(limit, parts, Allowance()) <= 31 + parts.bit_length()


def test_limit_that_was_lifted_is_found_out() -> None:
    """Limits by results are narrow where much is logged, and wide elsewhere."""
    allowance = Allowance()
    refusals(10, 20, allowance)
    asked, answers = 0, 0
    while asked < 10_000:
        asked = allowance.part_of(10_000)
        allowance.answered(asked)
        answers += 1
    assert answers < 60
