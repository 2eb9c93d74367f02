"""One finished run for all tests of this folder; a test that changes it takes a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.networks import finished_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small scenario's run: three sites, three rounds."""
    return finished_run(tmp_path_factory.getbasetemp())
