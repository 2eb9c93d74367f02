import numpy as np
import pytest

from wardround.learning.datasets import load_dataset
from wardround.learning.errors import DataError


def load(**arguments):
    return load_dataset("breast-cancer", arguments)


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "covariate"])
@pytest.mark.parametrize("sites", [1, 4, 10])
def test_load_gives_every_row_to_one_site(partition, sites):
    data = load(partition=partition, sites=sites)
    assert len(data.sites) == sites
    assert len({site.name for site in data.sites}) == sites
    assert sum(len(site.train) + len(site.test) for site in data.sites) == 569
    benign = sum(site.train.labels.sum() + site.test.labels.sum() for site in data.sites)
    assert benign == 357
    assert (data.classes, data.shape) == (2, (30,))
    for site in data.sites:
        assert len(site.train) >= 8
        assert len(site.test) >= 4
        assert abs(site.train.features.mean(axis=0)).max() < 1e-5


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_load_when_seed_is_equal_gives_equal_bytes(partition):
    def bytes_of(seed):
        return [
            (site.train.features.tobytes(), site.test.labels.tobytes())
            for site in load(partition=partition, seed=seed).sites
        ]

    assert bytes_of(3) == bytes_of(3)
    assert bytes_of(3) != bytes_of(4)


def test_load_by_covariate_makes_unlike_hospitals():
    shares = [site.train.labels.mean() for site in load(partition="covariate").sites]
    assert shares[0] > 0.9 > 0.2 > shares[-1]
    mixed = [site.train.labels.mean() for site in load(partition="iid").sites]
    assert np.ptp(mixed) < 0.2


def test_load_when_whole_number_is_given_for_alpha_takes_it():
    assert len(load(partition="dirichlet", alpha=1).sites) == 4


def test_load_when_too_many_sites_says_so():
    with pytest.raises(DataError, match="569 rows over 100 sites"):
        load(sites=100)
    with pytest.raises(DataError, match=r"Dirichlet\(0.01\)"):
        load(sites=30, partition="dirichlet", alpha=0.01)


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"sites": 0}, "sites"),
        ({"sites": 2.5}, "sites"),
        ({"partition": "zipf"}, "partition"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"train_size": 1.0}, "train_size"),
        ({"seed": -1}, "seed"),
        ({"colour": "red"}, "colour"),
        ({"partition": "covariate", "covariate": "age"}, "covariate"),
    ],
)
def test_load_when_argument_is_wrong_names_it(arguments, argument):
    with pytest.raises(DataError, match=f"'{argument}'"):
        load(**arguments)
