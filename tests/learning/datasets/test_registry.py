import pytest

from wardround.learning.datasets import SOURCES, load_dataset
from wardround.learning.errors import DataError


def test_load_dataset_when_name_is_unknown_lists_the_known():
    with pytest.raises(DataError, match=", ".join(sorted(SOURCES))):
        load_dataset("mnist")
