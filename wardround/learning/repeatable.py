"""Conditions under which PyTorch gives the same bits twice, and randomness that cannot be guessed.

A seed here has 256 bits. PyTorch's own seeding of its generator for CPUs keeps 32 bits of a seed:
few enough to try one after another until an order of rows explains an update.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from wardround.learning.privacy.noise import SecretStream

SEED_BITS = 256
#: Of a generator's state as PyTorch gives it: seed, ``left``, ``seeded``, ``next``, then the words.
_LEFT, _NEXT, _WORDS = slice(8, 12), slice(16, 24), slice(24, 24 + 8 * 624)


def stream_of(seed: int, purpose: str) -> SecretStream:
    """Open a stream of random numbers.

    Args:
        seed: in 0 .. 2**256 - 1.
        purpose: what the numbers are for; each has numbers of its own.
    """
    key = seed.to_bytes(SEED_BITS // 8, "big")
    return SecretStream(hmac.digest(key, f"wardround/training/{purpose}".encode(), hashlib.sha256))


def row_orders(seed: int, rows: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield an order of a table's rows for each epoch, for ever.

    Args:
        seed: in 0 .. 2**256 - 1.
        rows: of the table.
    """
    shuffle = stream_of(seed, "order")
    while True:
        # Equal words of 64 bits would keep their order; at a billion rows the chance is 3 %.
        yield np.argsort(shuffle.words(rows), kind="stable")


@contextmanager
def repeatable(threads: int, seed: int = 0) -> Iterator[None]:
    """Fix the number of threads and torch's global generator; put both back afterwards.

    Sums are split over threads, so another number of threads rounds otherwise. The global
    generator serves layers such as dropout.

    Args:
        threads: at least 1.
        seed: of the global generator, in 0 .. 2**256 - 1.
    """
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        _seed_all_of_it(seed)
        if before != threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if before != threads:
                torch.set_num_threads(before)


def _seed_all_of_it(seed: int) -> None:
    """Fill the whole state of torch's generator, 19,937 bits, from a stream."""
    torch.manual_seed(0)
    state = torch.get_rng_state().numpy()
    words = stream_of(seed, "layers").words(624) >> np.uint64(32)
    state[_WORDS] = np.frombuffer(words.tobytes(), np.uint8)
    # One left of a used-up block: the next number starts a new one from all words.
    state[_LEFT] = np.frombuffer(np.int32(1).tobytes(), np.uint8)
    state[_NEXT] = 0
    torch.set_rng_state(torch.from_numpy(state))
