"""Conditions under which PyTorch gives the same bits twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable(threads: int, seed: int = 0) -> Iterator[None]:
    """Fix the number of threads and torch's global generator; put both back afterwards.

    Sums are split over threads, so another number of threads rounds otherwise. The global
    generator serves layers such as dropout.

    Args:
        threads: at least 1.
        seed: of the global generator, in 0 .. 2**63 - 1.
    """
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if before != threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if before != threads:
                torch.set_num_threads(before)
