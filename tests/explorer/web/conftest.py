"""The explorer over a finished run: the application itself, and on a real socket."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.explorer.serving import served
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.source import run_source
from wardround.explorer.web.app import create_app
from wardround.explorer.web.explorer import Explorer


@contextmanager
def explored(folder: Path, index: Path) -> Iterator[Explorer]:
    """Open a run's folder as `wardround explore` does."""
    with run_source(folder) as source:
        indexer = Indexer(source, index)
        indexer.catch_up()
        indexer.close()
        reader = Reader(index)
        try:
            yield Explorer(reader, source)
        finally:
            reader.close()


#: Folder of a finished run to look at instead of a new one.
RUN = "WARDROUND_EXPLORER_RUN"


@pytest.fixture(scope="session")
def copied_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose store these tests may alter, if they mend it again."""
    folder = os.environ.get(RUN) or request.getfixturevalue("run_folder")
    return Path(shutil.copytree(folder, tmp_path_factory.mktemp("web") / "run"))


@pytest.fixture(scope="session")
def explorer(copied_run: Path) -> Iterator[Explorer]:
    with explored(copied_run, copied_run.parent / "index.sqlite") as opened:
        yield opened


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="session")
def address(explorer: Explorer) -> Iterator[str]:
    with served(create_app(explorer)) as where:
        yield where


@pytest.fixture(scope="session")
def study(explorer: Explorer) -> str:
    with explorer.reader.look() as db:
        (found,) = db.execute("SELECT study FROM study").fetchone()
    return str(found)
