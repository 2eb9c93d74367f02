import os
from pathlib import Path

import pytest

from wardround.learning.datasets import DATA_DIR_VARIABLE


def _heart_folder() -> Path | None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    named = os.environ.get(DATA_DIR_VARIABLE)
    for folder in [Path(named)] if named else [beside]:
        for place in (folder, folder / "heart"):
            if (place / "processed.cleveland.data").is_file():
                return place
    return None


@pytest.fixture(scope="session")
def heart_folder() -> Path:
    """The folder that holds the four hospitals' files themselves."""
    folder = _heart_folder()
    if folder is None:
        pytest.skip("no heart files: set WARDROUND_DATA_DIR to their folder")
    return folder
