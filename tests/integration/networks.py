"""Small networks for the tests that need a whole one: prepared, or run to their end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.journal import start_journaled
from wardround.protocol.model import StudyFiles, file_digests
from wardround_simulations.network import Network, new_folder, new_keys, prepare
from wardround_simulations.results import Results
from wardround_simulations.run import simulate
from wardround_simulations.scenario import Scenario

CHAIN_ID = 31337
FEATURES = 6

#: A sponsor's study.toml.
STUDY_TOML = """
[study]
name = "lungs"
rounds = 2

[model]
name = "logistic"
arguments = { features = 5 }

[training]
learning_rate = 0.1
local_steps = 3

[aggregation]
min_sites = 1

[rewards]
per_round = "1000000000000000000"

[chain]
bond = "5000000000000000000"
"""


def small_scenario(**tables: Any) -> Scenario:
    """Three hospitals with made-up rows and seven parameters; tables named are merged over it."""
    value: dict[str, Any] = {
        "study": {"name": "small", "rounds": 3, "seed": 5},
        "model": {"name": "logistic", "arguments": {"features": FEATURES}},
        "training": {"learning_rate": 0.2, "batch_size": 8, "local_epochs": 1},
        "aggregation": {"min_sites": 2},
        "rewards": {"per_round": "1000"},
        "data": {
            "name": "generated",
            "arguments": {"sites": 3, "rows": 40, "test_rows": 20, "features": FEATURES},
            # Wide enough for all rows as they are; private studies need one.
            "range": [-8.0, 8.0],
        },
    }
    for name, table in tables.items():
        known = value.get(name)
        value[name] = {**known, **table} if isinstance(known, Mapping) else table
    return Scenario.model_validate(value)


def own_scenario(files: StudyFiles, factory: str = "build", **tables: Any) -> Scenario:
    """The small scenario with a model of its own, which a function of its first file builds."""
    model = {
        "name": None,
        "arguments": {},
        "file": next(iter(files)),
        "factory": factory,
        "files": file_digests(files),
        "row_shape": [FEATURES],
        "classes": 2,
    }
    return small_scenario(model=model, **tables).with_files(files)


def one_site(rounds: int, **tables: Any) -> Scenario:
    """One hospital, for tests of what is around it: each site costs five processes."""
    arguments = {"sites": 1, "rows": 40, "test_rows": 20, "features": FEATURES}
    return small_scenario(
        study={"rounds": rounds},
        aggregation={"min_sites": 1},
        data={"arguments": arguments},
        **tables,
    )


def toml_of(scenario: Scenario) -> str:
    """A scenario as its file: flat tables, whose JSON forms are TOML too."""
    lines: list[str] = []
    for name, table in scenario.model_dump(mode="json", exclude_defaults=True).items():
        if isinstance(table, list):
            for row in table:
                lines += [f"[[{name}]]", *(f"{k} = {_toml(v)}" for k, v in row.items()), ""]
        elif isinstance(table, dict):
            lines += [f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in table.items()), ""]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@contextmanager
def prepared(
    scenario: Scenario, folder: Path, standbys: int = 0, *, confidential: bool = False
) -> Iterator[Network]:
    """Lay a network out on an embedded chain of its own, with a journal, up to its first round."""
    folders = new_folder(folder)
    keys = new_keys(folders, standbys)
    genesis = Genesis(CHAIN_ID, 1_760_000_000, dict.fromkeys(keys.addresses, 10**21))
    chain = EmbeddedChain(f"test-{os.getpid()}-{time.monotonic_ns()}", genesis)
    journal = start_journaled(folders.journal, chain)
    try:
        network = prepare(scenario, folders, keys, chain, data_dir=None, confidential=confidential)
        with network.guarded(lambda: int(time.time())):
            yield network
    finally:
        journal.close()
        chain.close()


def run(scenario: Scenario, folder: Path, **choices: Any) -> Results:
    """Run a scenario to its end, as `wardround simulate` does."""
    return simulate(scenario, toml_of(scenario), folder, **choices)


@cache
def finished_run(base: Path) -> Path:
    """Run the small scenario once for all tests of a session; no test may change its folder."""
    folder = base / "finished"
    run(small_scenario(), folder)
    return folder


def copied(run_folder: Path, to: Path) -> Path:
    """Copy a run's folder, to do something bad to it."""
    return Path(shutil.copytree(run_folder, to))
