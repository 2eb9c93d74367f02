"""Integers from the discrete Gaussian, exactly: no float decides, so no rounding gives noise away.

Source:
    Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy"
    (arXiv:2004.00010), algorithms 1 to 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from wardround.learning.privacy.noise import SecretStream

#: Gives a uniform integer in 0 .. n - 1, for n >= 1: `secrets.randbelow`, or one of a key.
Below = Callable[[int], int]


def below_of(stream: SecretStream) -> Below:
    """Draw uniform integers from a key's stream, so that they repeat."""
    words = _words(stream)

    def below(limit: int) -> int:
        count = (limit.bit_length() + 63) // 64
        spare = 64 * count - (limit - 1).bit_length()
        while True:
            found = 0
            for _ in range(count):
                found = found << 64 | next(words)
            if found >> spare < limit:
                return found >> spare

    return below


def _words(stream: SecretStream) -> Iterator[int]:
    while True:
        yield from stream.words(512).tolist()


def discrete_gaussian(sigma: Fraction, below: Below) -> int:
    """Draw an integer x with a probability in proportion to ``exp(-x**2 / (2 * sigma**2))``.

    How long it takes varies by chance with what is rejected on the way.

    Args:
        sigma: above 0.
        below: gives uniform integers.
    """
    above, under = sigma.as_integer_ratio()
    scale = above // under + 1
    # (abs(found) - sigma**2 / scale)**2 / (2 * sigma**2), as one fraction.
    divisor = 2 * (above * under * scale) ** 2
    while True:
        found = _discrete_laplace(scale, below)
        away = abs(found) * under * under * scale - above * above
        if _happens(away * away, divisor, below):
            return found


def _discrete_laplace(scale: int, below: Below) -> int:
    """Draw an integer x with a probability in proportion to ``exp(-abs(x) / scale)``."""
    while True:
        part = below(scale)
        if not _happens(part, scale, below):
            continue
        whole = 0
        while _happens(1, 1, below):
            whole += 1
        size, negative = part + scale * whole, below(2) == 1
        # Zero would come up twice as often, once with either sign.
        if not (negative and size == 0):
            return -size if negative else size


def _happens(above: int, under: int, below: Below) -> bool:
    """Return True with the probability ``exp(-above / under)``, for a fraction of at least 0."""
    while above > under:
        if not _happens(1, 1, below):
            return False
        above -= under
    count = 1
    # A chance of above / (under * count): the series of exp, term by term.
    while below(under * count) < above:
        count += 1
    return count % 2 == 1
