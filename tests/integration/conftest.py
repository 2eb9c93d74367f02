"""One finished run for all tests of this folder; a test that changes it takes a copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.networks import finished_run
from wardround.learning.datasets import DATA_DIR_VARIABLE


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small scenario's run: three sites, three rounds."""
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def heart_folder() -> Path:
    """The folder with the four hospitals' files."""
    named = os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        pytest.skip(f"no heart files: set {DATA_DIR_VARIABLE} to their folder")
    return Path(named)
