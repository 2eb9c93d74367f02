import pytest

from wardround.learning.datasets import SOURCES, load_dataset
from wardround.learning.errors import DatasetUnknown


def test_load_dataset_when_name_is_unknown_lists_the_known():
    with pytest.raises(DatasetUnknown, match="breast-cancer, generated, heart") as caught:
        load_dataset("mnist")
    assert set(caught.value.known) == set(SOURCES)
