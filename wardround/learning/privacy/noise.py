"""Randomness that only the site can foresee.

Known noise can be subtracted, and a known choice of rows takes away the benefit of sampling. So
neither may follow from anything that the coordinator knows, such as the study's seed. torch's
generators are not cryptographic, and ``manual_seed`` of the one for CPUs keeps 32 bits, which can
be tried one by one.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wardround.learning.errors import LearningError

SECRET_BYTES = 32
#: Normal numbers made at a time; fits a core's cache.
_BLOCK = 1 << 15
_PURPOSE = b"wardround/dp-sgd/1"


class NoiseSecret:
    """32 random bytes that never leave the site."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Keep a secret.

        Raises:
            LearningError: not 32 bytes.
        """
        if len(secret) != SECRET_BYTES:
            raise LearningError(
                f"a noise secret has {SECRET_BYTES} random bytes, not {len(secret)}: "
                "let the site draw one."
            )
        self._secret = secret

    def __repr__(self) -> str:
        """Show that it is one, and nothing of it."""
        return "NoiseSecret(...)"

    def stream(self, inputs: Sequence[bytes]) -> SecretStream:
        """Open the stream that belongs to these inputs and to no others.

        The same noise on two different computations would cancel in their difference, so
        ``inputs`` must hold all that decides the result.
        """
        mac = hmac.new(self._secret, _PURPOSE, hashlib.sha256)
        for part in inputs:
            mac.update(hashlib.sha256(part).digest())
        return SecretStream(mac.digest())


class SecretStream:
    """The key stream of AES-256 in counter mode, read as random numbers."""

    def __init__(self, key: bytes) -> None:
        # A counter from zero is right for a key that is used for this stream alone.
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """Uniform over 0 .. 2**64 - 1; uint64, shape (count,)."""
        return np.frombuffer(self._cipher.update(bytes(8 * count)), dtype="<u8")

    def choose(self, rows: int, rate: float) -> npt.NDArray[np.int64]:
        """Take each row by itself with the same chance (Poisson sampling).

        Args:
            rows: how many there are.
            rate: chance of each, in (0, 1].
        Returns:
            int64, ascending; any number of rows, also none.
        """
        if rate >= 1:
            return np.arange(rows)
        return np.flatnonzero(self.words(rows) < np.uint64(int(rate * 2.0**64)))

    def normal(self, count: int) -> npt.NDArray[np.float64]:
        """Standard normal numbers; float64, shape (count,).

        They reach to 9.5 standard deviations, where a true normal ends with a chance of 1e-21.

        Source:
            Box and Muller 1958.
        """
        out = np.empty(count + count % 2)
        for start in range(0, len(out), _BLOCK):
            block = out[start : start + _BLOCK]
            half = len(block) // 2
            # In (0, 1]: the logarithm of 0 cannot come up.
            uniform = (self.words(2 * half).astype(np.float64) + 0.5) * 2.0**-64
            radius = np.sqrt(-2.0 * np.log(uniform[:half]))
            angle = (2.0 * math.pi) * uniform[half:]
            np.multiply(radius, np.cos(angle), out=block[:half])
            np.multiply(radius, np.sin(angle), out=block[half:])
        return out[:count]
