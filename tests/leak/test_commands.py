"""``wardround leak`` as a person calls it, on runs with a chain and a store."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.calling import Call
from tests.integration.networks import copied, finished_run
from tests.leak.puppets import STARTS, Bisection
from tests.leak.readings import kept_secret, made_the_old_way, scenario_of
from tests.leak.runs import run_of
from wardround.audit.finished import open_run
from wardround.leak.outcome import read_truth
from wardround.leak.reading import read_run
from wardround.learning.datasets.table import SiteData, Table, save_table
from wardround.learning.errors import DataError
from wardround.protocol.fixed_point import Int32Vector
from wardround.protocol.study import StudySpec

ROWS, FEATURES, ROUNDS = 6, 3, 14
TRAINING = {"learning_rate": 0.1, "batch_size": 2, "local_steps": 2, "local_epochs": None}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made the old way: two tiny hospitals, the order of their rows public."""
    scenario = scenario_of(ROWS, FEATURES, ROUNDS, sites=2, training=TRAINING)
    folder = tmp_path_factory.mktemp("old") / "run"
    run_of(scenario, folder, made_the_old_way)
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study with an order that only the sites know."""
    scenario = scenario_of(ROWS, FEATURES, ROUNDS, sites=2, training=TRAINING)
    folder = tmp_path_factory.mktemp("kept") / "run"
    run_of(scenario, folder, kept_secret)
    return folder


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose second site is the coordinator's puppet, and bisects the first one's rows."""
    scenario = scenario_of(
        ROWS, FEATURES, 8, sites=2, aggregation={"min_sites": 2, "update_bound": 2040.0},
        training={"learning_rate": 1.0, "batch_size": 0, "local_steps": 1, "local_epochs": None},
    )  # fmt: skip
    honest: dict[int, Int32Vector] = {}
    bisection = Bisection(FEATURES, lambda model: honest[len(honest)], 1 / ROWS)
    thresholds = list(STARTS)

    def training(spec: StudySpec, site: SiteData, number: int, base: Int32Vector) -> Int32Vector:
        if site.name == "site-1":
            honest[number] = kept_secret(spec, site, number, base)
            return honest[number]
        if number > 1:
            bisection.ask(thresholds[number - 2])
        if number > 3:
            thresholds.append(bisection.next())
        wanted = bisection.model(thresholds[number - 1]).astype(np.int64) - base
        return (2 * wanted - honest[number]).astype(np.int32)

    folder = tmp_path_factory.mktemp("chosen") / "run"
    run_of(scenario, folder, training)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_leak_when_the_order_is_public_names_the_rows_and_ends_with_1(
    call: Call, old: Path
) -> None:
    ended = call("leak", old)
    assert ended.status == 1
    assert f"{ROWS} of {ROWS} rows are rebuilt" in ended.out
    assert "LEAK" in ended.out
    assert "public order at site-1" in ended.out
    assert "… public order: site-1" in ended.err


@pytest.mark.parametrize("role", ["reader", "coordinator"])
def test_leak_when_a_coordinator_chose_the_models_names_the_rows_and_ends_with_1(
    call: Call, chosen: Path, role: str
) -> None:
    """What a puppet adds is public, so every reader has the rows that it singled out."""
    ended = call("leak", chosen, "--as", role, "--json", "--auc", 1)
    assert ended.status == 1
    (victim, _) = (one for one in lines(ended.out) if one["attack"] == "chosen models")
    assert (victim["site"], victim["leak"]) == ("site-1", True)
    assert victim["rebuilt"] >= 2, victim["words"]


def test_leak_when_the_order_is_secret_ends_with_0(call: Call, kept: Path) -> None:
    found = lines(call("leak", kept, "--json", "--auc", 1).good)
    guessed = [one for one in found if one["attack"] == "public order"]
    assert [one["site"] for one in guessed] == ["site-1", "site-2"]
    assert all(one["tried"] and one["rebuilt"] == 0 and not one["leak"] for one in guessed)


def test_leak_when_tables_lie_elsewhere_judges_by_them(
    call: Call, old: Path, tmp_path: Path
) -> None:
    moved = copied(old, tmp_path / "run")
    (moved / "sites").rename(tmp_path / "tables")
    unjudged = lines(call("leak", moved, "--json").out)
    assert all(one["rebuilt"] is None for one in unjudged)
    assert any(one["leak"] and "no table is here" in one["words"] for one in unjudged)
    judged = call("leak", moved, "--tables", tmp_path / "tables", "--json")
    assert judged.status == 1
    assert judged.err == ""
    found = [one for one in lines(judged.out) if one["attack"] == "public order"]
    assert [one["rebuilt"] for one in found] == [ROWS, ROWS]


def test_leak_of_a_finished_simulation_as_its_coordinator_reads_what_sites_measured(
    call: Call, finished: Path
) -> None:
    ended = call("leak", finished, "--as", "coordinator", "--json", "--auc", 1)
    found = lines(ended.good)
    measured = [one for one in found if one["attack"] == "adaptive measures"]
    assert [one["tried"] for one in measured] == [False] * 3
    assert all("counts of test rows leave the site" in one["words"] for one in measured)
    reader = lines(call("leak", finished, "--json", "--auc", 1).good)
    unread = [one["words"] for one in reader if one["attack"] == "adaptive measures"]
    assert all("no measures of this site" in words for words in unread)


def test_measures_of_a_run_are_counts_of_its_test_rows(finished: Path) -> None:
    with open_run(finished) as opened:
        reading = read_run(opened, "coordinator")
    assert {one.examples for one in reading.measures} == {20}
    assert len(reading.measures) == len(reading.rounds) * len(reading.sites)


def test_leak_when_no_table_is_there_judges_nothing_and_ends_with_2(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    run = copied(finished, tmp_path / "run")
    shutil.rmtree(run / "sites")
    ended = call("leak", run)
    assert ended.status == 2
    assert "Nothing could be judged." in ended.out
    assert "no member told" not in ended.out
    assert call("leak", run, "--json").status == 2


def test_leak_when_the_run_names_no_site_ends_with_2(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    run = copied(finished, tmp_path / "run")
    network = json.loads((run / "network.json").read_text())
    (run / "network.json").write_text(json.dumps({**network, "sites": {}}))
    ended = call("leak", run)
    assert (ended.status, ended.out.strip().splitlines()[-1]) == (2, "Nothing could be judged.")


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]"])
def test_leak_when_the_run_has_no_readable_network_says_so(
    call: Call, tmp_path: Path, text: str
) -> None:
    (tmp_path / "network.json").write_text(text)
    assert "network.json" in call("leak", tmp_path).error


def test_leak_when_some_sites_have_tables_names_those_that_are_not_judged(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "sites" / "site-2", tmp_path / "tables" / "site-2")
    out = call("leak", finished, "--tables", tmp_path / "tables", "--auc", 1).good
    assert "no member told from others" in out
    assert "Not judged, with the tables that are here: site-1, site-3." in out


@pytest.fixture(scope="module")
def opened_files() -> Iterator[list[str]]:
    """Every file that this process opens; an audit hook cannot be taken back, so it is stilled."""
    seen: list[str] = []
    listening = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if listening[0] and event == "open" and isinstance(arguments[0], str | bytes):
            seen.append(str(arguments[0]))

    sys.addaudithook(hook)
    yield seen
    listening[0] = False


def test_leak_when_secrets_lie_in_the_folder_opens_none_of_them(
    call: Call, old: Path, tmp_path: Path, opened_files: list[str]
) -> None:
    run = copied(old, tmp_path / "run")
    (run / "simulation.key").write_text("secret")
    opened_files.clear()
    call("leak", run, "--as", "coordinator")
    inside = {
        str(Path(name).relative_to(run)) for name in opened_files if name.startswith(str(run))
    }
    assert "network.json" in inside
    assert {name for name in inside if name.startswith("sites/")} == {
        f"sites/site-{number}/{table}.npz" for number in (1, 2) for table in ("train", "test")
    }
    assert not [name for name in inside if name.endswith(".key") or "password" in name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing"], "this is not the folder of a run"),
        ([".", "--as", "auditor"], "choose reader or coordinator"),
        *[([".", "--auc", area], "give an area from 0.5 to 1") for area in ("nan", "0.4", "inf")],
    ],
)
def test_leak_when_the_command_line_is_wrong_is_refused(
    call: Call, arguments: list[str], words: str
) -> None:
    ended = call("leak", *arguments)
    assert ended.status != 0
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_leak_when_tables_are_nowhere_is_refused(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    for folder in (tmp_path / "tabels", tmp_path):
        ended = call("leak", finished, "--tables", folder)
        assert ended.status == 2
        assert "no site's table is there" in ended.err
        assert ended.out == ""


def test_leak_when_a_table_is_damaged_names_it(call: Call, old: Path, tmp_path: Path) -> None:
    run = copied(old, tmp_path / "run")
    (run / "sites" / "site-2" / "train.npz").write_bytes(b"no archive")
    assert "site-2/train.npz" in call("leak", run).error


@pytest.mark.parametrize(
    ("shape", "label", "reason"),
    [
        ((4, FEATURES + 1), 0, "takes 3 features, and a row of this table has 4"),
        ((0, FEATURES), 0, "has no rows"),
        ((0, 0), 0, "has no rows"),
        ((4, FEATURES), 9, "tells 2 classes apart, and the data have 10"),
    ],
)
@pytest.mark.parametrize("name", ["train", "test"])
def test_table_when_the_model_does_not_take_it_is_refused_by_name(
    tmp_path: Path, shape: tuple[int, ...], label: int, reason: str, name: str
) -> None:
    model = scenario_of(ROWS, FEATURES, ROUNDS).specification.model
    table = Table(np.zeros(shape, np.float32), np.full(shape[0], label))
    save_table(table, tmp_path / f"{name}.npz")
    with pytest.raises(DataError, match=f"{name}.npz.*{reason}"):
        read_truth(tmp_path, model)


def test_tables_when_they_differ_in_shape_alone_are_read_in_the_models(tmp_path: Path) -> None:
    model = scenario_of(ROWS, FEATURES, ROUNDS).specification.model
    for name, shape in (("train", (4, FEATURES)), ("test", (5, FEATURES, 1))):
        table = Table(np.ones(shape, np.float32), np.zeros(shape[0], np.int64))
        save_table(table, tmp_path / f"{name}.npz")
    truth = read_truth(tmp_path, model)
    assert truth.train is not None
    assert truth.test is not None
    assert truth.train.features.shape[1:] == truth.test.features.shape[1:] == (FEATURES,)
