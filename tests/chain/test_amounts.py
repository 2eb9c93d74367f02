"""Amounts of tokens of 0 to 24 decimals, read and written."""

from __future__ import annotations

from contextlib import suppress
from decimal import ROUND_HALF_UP, Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chain.conftest import World
from tests.odd_tokens import HOSTILE, contract_of, token_of
from wardround.chain.amounts import amount_of, tokens_of
from wardround.chain.errors import ContractReverted, TransactionRefused
from wardround.chain.study_token import StudyToken

DECIMALS = st.integers(0, 24)
EXACT = Context(prec=200)


@pytest.mark.parametrize(
    ("amount", "decimals", "written"),
    [
        (0, 0, "0"),
        (1_234_567, 0, "1,234,567"),
        (1_234_567, 6, "1.2346"),
        (2_500_000, 6, "2.5"),
        (1, 6, "0.000001"),
        (25 * 10**18, 18, "25"),
        (99_999 * 10**13 + 6 * 10**12, 18, "1"),
        (10, 18, "0.00000000000000001"),
        (12_345 * 10**24, 24, "12,345"),
        (1, 24, "0.000000000000000000000001"),
        (-5 * 10**17, 18, "−0.5"),
    ],
)
def test_amount_is_written_by_its_tokens_decimals(amount: int, decimals: int, written: str) -> None:
    assert tokens_of(amount, decimals) == written


@given(st.integers(0, 2**128 - 1), DECIMALS)
def test_amount_is_rounded_to_four_decimals_and_never_to_zero(amount: int, decimals: int) -> None:
    written = Decimal(tokens_of(amount, decimals).replace(",", ""))
    exact = Decimal(amount).scaleb(-decimals, context=EXACT)
    if exact >= Decimal("0.0001"):
        exact = exact.quantize(Decimal("0.0001"), ROUND_HALF_UP, context=EXACT)
    assert written == exact


@given(st.integers(0, 2**128 - 1), DECIMALS)
def test_amount_that_is_written_in_full_is_read_back(amount: int, decimals: int) -> None:
    written = format(Decimal(amount).scaleb(-decimals, context=EXACT), "f")
    assert amount_of(written, decimals) == amount


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,000", "٣", "nan", "0x1"]
)
def test_text_that_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of tokens"):
        amount_of(text, 18)


@pytest.mark.parametrize(
    ("text", "decimals"), [("0.5", 0), ("1.0000001", 6), ("0." + "3" * 25, 24)]
)
def test_amount_finer_than_the_token_is_refused(text: str, decimals: int) -> None:
    with pytest.raises(ValueError, match=f"which has {decimals}"):
        amount_of(text, decimals)


@pytest.mark.parametrize("decimals", [0, 6, 18, 24])
def test_token_says_its_decimals(world: World, decimals: int) -> None:
    assert token_of(world.chain, world.alice, 1, decimals).decimals() == decimals


def test_token_that_says_none_or_too_many_is_shown_in_its_units(world: World) -> None:
    """ERC-20 leaves `decimals` open; a contract may answer anything, revert, or be none."""
    assert token_of(world.chain, world.alice, 1, 25).decimals() == 0
    assert StudyToken(world.chain, world.bob.address).decimals() == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_token_that_answers_anything_has_no_symbol_or_decimals(world: World, name: str) -> None:
    token = StudyToken(world.chain, contract_of(world.chain, world.alice, HOSTILE[name]))
    assert token.symbol() is None
    assert token.decimals() in (0, 0x12)
    # A number, or an error that callers expect.
    with suppress(ContractReverted, TransactionRefused):
        assert 0 <= token.balance_of(world.alice.address) < 2**256
