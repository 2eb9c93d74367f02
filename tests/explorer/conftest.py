"""A finished run, made once: real sites, a real chain, a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.source import run_source
from wardround_simulations.run import simulate
from wardround_simulations.scenario import load_scenario

ROUNDS = 3


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explorer") / "run"
    scenario, text = load_scenario("demo")
    study = scenario.study.model_copy(update={"rounds": ROUNDS})
    simulate(scenario.model_copy(update={"study": study}), text, folder)
    return folder


@pytest.fixture(scope="session")
def run_index(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "index.sqlite"
    with run_source(run_folder) as source:
        indexer = Indexer(source, path)
        indexer.catch_up()
        indexer.close()
    return path


@pytest.fixture
def reader(run_index: Path) -> Iterator[Reader]:
    reader = Reader(run_index)
    yield reader
    reader.close()
