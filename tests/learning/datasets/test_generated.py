import numpy as np
import pytest

from wardround.learning.datasets import load_dataset
from wardround.learning.errors import DataError


def test_load_gives_rows_of_the_shape_asked_for():
    data = load_dataset(
        "generated",
        {"sites": 11, "rows": 30, "test_rows": 7, "features": [3, 8, 8], "classes": 4},
    )
    assert (data.classes, data.shape) == (4, (3, 8, 8))
    assert [site.name for site in data.sites][::10] == ["site-01", "site-11"]
    assert data.sites[0].train.features.shape == (30, 3, 8, 8)
    assert data.sites[0].test.features.shape == (7, 3, 8, 8)
    assert set(np.unique(np.concatenate([s.train.labels for s in data.sites]))) == {0, 1, 2, 3}


def test_load_when_sites_are_added_leaves_the_others_alone():
    few, many = (load_dataset("generated", {"sites": n, "rows": 10}).sites for n in (2, 3))
    for before, after in zip(few, many, strict=False):
        assert before.train.features.tobytes() == after.train.features.tobytes()
    assert many[0].train.features.tobytes() != many[1].train.features.tobytes()
    other = load_dataset("generated", {"sites": 2, "rows": 10, "seed": 1}).sites
    assert other[0].train.features.tobytes() != few[0].train.features.tobytes()


@pytest.mark.parametrize("features", [0, [], [1, 0], "20"])
def test_load_when_shape_is_wrong_names_the_argument(features):
    with pytest.raises(DataError, match="features"):
        load_dataset("generated", {"features": features})
