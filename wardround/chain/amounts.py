"""Amounts of tokens, as people write them and in a token's smallest unit, as the chain does."""

from __future__ import annotations

import re

#: More decimals no token that is in use has; what says so is not believed.
DECIMALS_MAX = 24
#: Decimals that are shown of an amount.
_SHOWN = 4

_WRITTEN = re.compile(r"([0-9]{1,60})(?:\.([0-9]{1,60}))?")


def tokens_of(amount: int, decimals: int) -> str:
    """Write an amount in tokens, rounded half up to four decimals; one below that in full.

    Args:
        amount: in the smallest unit.
        decimals: the token's: 10**decimals units are one token.
    """
    sign, size, step = "−" if amount < 0 else "", abs(amount), 10 ** max(0, decimals - _SHOWN)
    if size >= step:
        size = (size + step // 2) // step * step
    whole, part = divmod(size, 10**decimals)
    rest = f"{part:0{decimals}d}".rstrip("0") if part else ""
    return f"{sign}{whole:,}" + (f".{rest}" if rest else "")


def amount_of(tokens: str, decimals: int) -> int:
    """Read an amount of tokens, ``250`` or ``0.5``, as their smallest units.

    Args:
        tokens: digits, with at most as many behind the point as the token has.
        decimals: the token's.

    Raises:
        ValueError: it is none; says why.
    """
    found = _WRITTEN.fullmatch(tokens)
    if found is None:
        raise ValueError(f"{tokens} is no amount of tokens: write it as 250 or 0.5")
    whole, part = found[1], (found[2] or "").rstrip("0")
    if len(part) > decimals:
        raise ValueError(f"{tokens} has more decimals than the token, which has {decimals}")
    return int(whole + part.ljust(decimals, "0"))
