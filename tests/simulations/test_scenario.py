from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.networks import own_scenario, small_scenario, toml_of
from wardround.learning.datasets import load_dataset
from wardround.protocol.errors import ScenarioError, SpecificationError
from wardround_simulations.scenario import (
    Scenario,
    builtin_scenarios,
    keep_scenario,
    load_scenario,
)


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["attackers", "demo", "four-hospitals"])
def test_scenario_when_it_comes_along_can_be_loaded(name: str) -> None:
    scenario, text = load_scenario(name)
    assert scenario.study.name == name
    assert scenario.about.endswith(".")
    assert tomllib.loads(text)["study"]["name"] == name
    assert name in builtin_scenarios()


@pytest.mark.parametrize("name", ["attackers", "demo"])
def test_sites_when_a_scenario_names_them_are_in_its_data(name: str) -> None:
    scenario, _ = load_scenario(name)
    dataset = load_dataset(scenario.data.name, scenario.data.arguments)
    names = {site.name for site in dataset.sites}
    assert {row.site for row in scenario.behaviour} <= names
    assert len(names) >= scenario.aggregation.min_sites


def test_four_hospitals_when_loaded_is_the_published_recipe() -> None:
    spec, _ = load_scenario("four-hospitals")
    training = spec.training
    assert (training.optimizer, training.learning_rate) == ("sgd", 0.01)
    assert (training.batch_size, training.local_steps, spec.study.rounds) == (4, 100, 50)
    assert (spec.model.name, spec.data.name, spec.aggregation.rule) == ("logistic", "heart", "mean")


def test_digest_when_sites_misbehave_is_the_honest_studys() -> None:
    honest = small_scenario()
    behaving = small_scenario(behaviour=[{"site": "site-1", "attack": "nan"}])
    assert behaving.specification.digest == honest.specification.digest


def test_scenario_when_written_to_a_file_is_read_back(tmp_path: Path) -> None:
    scenario = small_scenario(behaviour=[{"site": "site-2", "attack": "scaled", "factor": 3}])
    loaded, text = load_scenario(written(tmp_path, toml_of(scenario)))
    assert loaded == scenario
    assert text == toml_of(scenario)


def test_scenario_with_a_model_of_its_own_is_read_and_kept_with_its_files(tmp_path: Path) -> None:
    own = own_scenario({"model.py": b"x = 1\n", "layers.py": b"y = 2\n"})
    text = toml_of(small_scenario()).replace(
        'name = "logistic"\narguments = { features = 6 }',
        'file = "model.py"\nfactory = "build"\nfiles = ["layers.py"]\nrow_shape = [6]\nclasses = 2',
    )
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
    for name, data in own.files.items():
        (tmp_path / "first" / name).write_bytes(data)
    loaded, read = load_scenario(written(tmp_path / "first", text))
    assert loaded.files == own.files
    assert loaded.specification.files == own.files
    assert loaded.specification.digest == own.specification.digest
    keep_scenario(loaded, read, tmp_path / "second")
    assert load_scenario(str(tmp_path / "second" / "scenario.toml"))[0] == loaded


@pytest.mark.parametrize("name", ["no-such", "no/such.toml", ".", "", "demo.toml"])
def test_scenario_when_unknown_lists_those_there_are(name: str) -> None:
    with pytest.raises(ScenarioError, match=r"those that come along are attackers, demo, four-hos"):
        load_scenario(name)


WRONG = [
    ('[[behaviour]]\nsite = "site-1"\n', "behaviour.0", "give an attack"),
    ('[[behaviour]]\nsite = "site-1"\nattack = "bribe"\n', "behaviour.0.attack", "label_flip"),
    ('[[behaviour]]\nattack = "nan"\n', "behaviour.0.site", "missing"),
    (
        '[[behaviour]]\nsite = "a"\nattack = "nan"\nfactor = 0\n',
        "behaviour.0.factor",
        "greater than or equal to 1",
    ),
    (
        '[[behaviour]]\nsite = "a"\nabsent = [0]\n',
        "behaviour.0.absent.0",
        "greater than or equal to 1",
    ),
    ('[[behaviour]]\nsite = "a"\nabsent = [1]\nwhen = 2\n', "behaviour.0.when", "no such key"),
    ('[behavior]\nsite = "a"\n', "behavior", "no such key"),
]


@pytest.mark.parametrize(("text", "key", "reason"), WRONG, ids=[key for _, key, _ in WRONG])
def test_scenario_when_a_key_is_wrong_names_its_line(
    tmp_path: Path, text: str, key: str, reason: str
) -> None:
    name = written(tmp_path, toml_of(small_scenario()) + "\n" + text)
    with pytest.raises(SpecificationError, match=reason) as refusal:
        load_scenario(name)
    assert refusal.value.key.startswith(key)
    first = len(toml_of(small_scenario()).splitlines()) + 2
    assert refusal.value.line is not None
    assert first <= refusal.value.line < first + len(text.splitlines())


def test_scenario_when_the_data_table_is_missing_says_so(tmp_path: Path) -> None:
    text = toml_of(small_scenario()).split("[data]")[0]
    with pytest.raises(SpecificationError, match="data: this key is missing"):
        load_scenario(written(tmp_path, text))


@pytest.mark.parametrize("data", [b"\xff\xfe[study]", b"name = \xe9", b"\x00\x01", b"[study"])
def test_scenario_when_the_file_is_no_text_says_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(data)
    with pytest.raises(SpecificationError, match=r"not TOML|not UTF-8") as refusal:
        load_scenario(str(path))
    assert str(path) in str(refusal.value)


@given(st.binary(max_size=100))
def test_scenario_when_the_file_is_hostile_gives_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.toml"
    path.write_bytes(data)
    with pytest.raises(SpecificationError):
        load_scenario(str(path))


def test_scenario_when_it_is_a_study_has_the_studys_tables() -> None:
    scenario = small_scenario()
    assert isinstance(scenario, Scenario)
    document = scenario.specification.document()
    assert set(document) == {"study", "model", "training", "aggregation", "rewards", "chain"}
