"""How much is asked for at once, after answers and refusals."""

from hypothesis import given
from hypothesis import strategies as st

from wardround.chain.portion import Portion


def refusals(limit: int, parts: int, portion: Portion, stated: int | None = None) -> int:
    """How often an endpoint with a fixed limit refuses on the way to so many answers."""
    refused = 0
    while parts:
        asked = portion.part_of(10**9)
        if asked > limit:
            refused += 1
            portion.refused(asked, stated)
        else:
            parts -= 1
            portion.answered(asked)
    return refused


def test_everything_is_asked_for_until_something_is_refused() -> None:
    portion = Portion()
    portion.answered(5)
    assert portion.part_of(1000) == 1000


def test_what_an_endpoint_states_counts_else_half() -> None:
    stated, halved = Portion(), Portion()
    stated.refused(1000, 30)
    halved.refused(1001, None)
    assert (stated.part_of(1000), halved.part_of(1000)) == (30, 501)
    assert stated.part_of(7) == 7


def test_next_query_does_not_start_from_the_top() -> None:
    portion = Portion()
    assert refusals(1000, 1, portion) == 20
    assert refusals(1000, 5, portion) == 0


def test_number_that_an_endpoint_states_is_believed_for_long() -> None:
    portion = Portion()
    assert refusals(30, 128, portion, 30) == 1
    assert refusals(30, 500, portion, 30) == 2


@given(limit=st.integers(1, 10**6), parts=st.integers(1, 2000))
def test_refusals_of_a_fixed_limit_grow_with_the_logarithm(limit: int, parts: int) -> None:
    assert refusals(limit, parts, Portion()) <= 31 + parts.bit_length()


def test_limit_that_was_lifted_is_found_out() -> None:
    """Limits by results are narrow where much is logged, and wide elsewhere."""
    portion = Portion()
    refusals(10, 20, portion)
    asked, answers = 0, 0
    while asked < 10_000:
        asked = portion.part_of(10_000)
        portion.answered(asked)
        answers += 1
    assert answers < 60
