"""How numbers, times and amounts are written on pages."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

#: Python has no later dates; a chain can still give such a timestamp.
_LAST_SECOND = 253_402_300_799


@lru_cache(maxsize=1024)
def utc(seconds: int) -> str:
    """A block's time for people; odd seconds are written as they are."""
    if not 0 <= seconds <= _LAST_SECOND:
        return f"second {seconds}"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@lru_cache(maxsize=1024)
def iso(seconds: int) -> str:
    """A block's time for machines."""
    if not 0 <= seconds <= _LAST_SECOND:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    words: list[str] = []
    rest = max(0, round(seconds))
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if rest >= size or (size == 1 and not words):
            words.append(f"{rest // size} {name}")
        rest %= size
    return " ".join(words[:2])


def short(text: str, length: int = 10) -> str:
    """A hash by its first characters and its last four, where that is shorter."""
    return f"{text[:length]}…{text[-4:]}" if len(text) > length + 5 else text


def percent(share: float) -> str:
    """A share of one, in percent with one decimal."""
    return f"{100 * share:.1f} %"


def between(shares: tuple[float, float]) -> str:
    """An interval of shares of one, in percent with one decimal."""
    low, high = shares
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def size(count: int) -> str:
    """A number of bytes."""
    if count < 10_000:
        return f"{count:,} bytes"
    return f"{count / 1000:,.0f} kB" if count < 10_000_000 else f"{count / 1e6:,.0f} MB"
