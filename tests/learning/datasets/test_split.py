import numpy as np
import pytest

from wardround.learning.datasets.split import can_stratify, prepare_site


def test_prepare_site_standardises_on_its_training_rows_alone():
    random = np.random.default_rng(0)
    features = random.normal(50, 9, (60, 3))
    features[:, 2] = 7.0
    site = prepare_site("a", features, np.arange(60) % 2, train_size=0.5, seed=1, stratify=True)
    assert (len(site.train), len(site.test)) == (30, 30)
    assert site.train.labels.sum() == site.test.labels.sum() == 15
    assert site.train.features[:, :2].mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert site.train.features[:, :2].std(axis=0, ddof=1) == pytest.approx([1, 1])
    assert abs(site.test.features[:, :2].mean(axis=0)).min() > 1e-3
    assert not site.train.features[:, 2].any()
    assert not site.test.features[:, 2].any()


@pytest.mark.parametrize(
    ("labels", "train_size", "can"),
    [
        ([0, 0, 1, 1], 0.5, True),
        ([0, 0, 0, 1], 0.5, False),
        ([0, 0, 1, 1], 0.75, False),
        ([1, 1, 1, 1], 0.5, True),
    ],
)
def test_can_stratify_when_each_part_can_hold_each_class(labels, train_size, can):
    labels = np.array(labels)
    assert can_stratify(labels, train_size) is can
    if can:
        features = np.arange(len(labels), dtype=np.float64)[:, None]
        prepare_site("a", features, labels, train_size=train_size, seed=0, stratify=True)
