from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.learning.datasets.partition import by_covariate, dirichlet, iid
from wardround.learning.errors import DataError

LABELS = np.repeat(np.arange(3), 100)


def is_partition(parts, rows):
    return sorted(np.concatenate(parts).tolist()) == list(range(rows))


@given(rows=st.integers(0, 300), sites=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_iid_always_deals_every_row_once_and_evenly(rows, sites, seed):
    parts = iid(rows, sites, seed)
    assert len(parts) == sites
    assert is_partition(parts, rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_iid_stream_is_frozen():
    assert [part.tolist() for part in iid(6, 2, seed=1)] == [[1, 2, 4], [0, 3, 5]]


@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=50), sites=st.integers(1, 5))
def test_by_covariate_sorts_sites_by_value(values, sites):
    array = np.array(values, dtype=np.float64)
    parts = by_covariate(array, sites)
    assert is_partition(parts, len(values))
    filled = [part for part in parts if len(part)]
    for low, high in pairwise(filled):
        assert array[low].max() <= array[high].min()


@given(seed=st.integers(0, 2**32 - 1), alpha=st.sampled_from([0.3, 1.0, 100.0]))
def test_dirichlet_deals_every_row_once_with_a_minimum(seed, alpha):
    parts = dirichlet(LABELS, 4, alpha, minimum=5, seed=seed)
    assert is_partition(parts, len(LABELS))
    assert min(map(len, parts)) >= 5
    again = dirichlet(LABELS, 4, alpha, minimum=5, seed=seed)
    assert [a.tolist() for a in parts] == [b.tolist() for b in again]


def test_dirichlet_when_alpha_falls_skews_labels():
    def skew(alpha):
        shares = []
        for seed in range(20):
            for part in dirichlet(LABELS, 4, alpha, minimum=2, seed=seed):
                shares.append(np.bincount(LABELS[part], minlength=3).max() / len(part))
        return np.mean(shares)

    assert skew(0.1) > 0.7 > 0.5 > skew(100.0) > 1 / 3


def test_dirichlet_when_minimum_cannot_be_had_says_so():
    with pytest.raises(DataError, match=r"300 rows over 4 sites .*Dirichlet\(0.5\).*76 rows"):
        dirichlet(LABELS, 4, 0.5, minimum=76, seed=0)
