from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from wardround.learning.privacy.accountant import Mechanism
from wardround.protocol.errors import SpecificationError
from wardround_client.settings import (
    SITE_FILE,
    HomeSettings,
    PreparedTables,
    load_home_settings,
)
from wardround_client.sources.settings import DataSettings

HOME = f"""[site]
name = "mercy"

[chain]
endpoints = ["http://127.0.0.1:8545", "http://127.0.0.1:8546"]
chain_id = 31337
contract = "0x{"ab" * 20}"

[data]
name = "patients"
train = "train.npz"
test = "test.npz"
"""
SOURCE = """[data]
name = "patients"

[data.source]
type = "csv"
path = "patients.csv"

[data.label]
column = "outcome"
classes = [[0], [1]]

[[data.features]]
name = "age"
type = "numeric"
"""


def read_home(text: str | bytes, folder: Path) -> HomeSettings:
    data = text.encode() if isinstance(text, str) else text
    (folder / SITE_FILE).write_bytes(data)
    return load_home_settings(folder)


def test_home_when_read_has_its_tables_and_defaults(tmp_path: Path) -> None:
    settings = read_home(HOME, tmp_path)
    assert isinstance(settings.data, PreparedTables)
    assert settings.site.keystore == "keystore.json"
    assert settings.chain.url == "http://127.0.0.1:8545,http://127.0.0.1:8546"
    assert settings.policy.evaluate
    with_source = read_home(HOME.split("[data]")[0] + SOURCE, tmp_path)
    assert isinstance(with_source.data, DataSettings)


def test_home_when_wrong_names_file_and_line(tmp_path: Path) -> None:
    text = HOME.replace("chain_id = 31337", 'chain_id = "31337"')
    with pytest.raises(SpecificationError, match=f"^{tmp_path / SITE_FILE}") as refusal:
        read_home(text, tmp_path)
    assert (refusal.value.key, refusal.value.line) == ("chain.chain_id", 6)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"mercy"', '"Mercy West"', "site.name"),
        ("31337", "0", "chain.chain_id"),
        ('["http://127.0.0.1:8545", "http://127.0.0.1:8546"]', "[]", "chain.endpoints"),
        ('"train.npz"', "7", "data.train"),
        ('name = "patients"', "", "data.name"),
        ("[data]", '[policy]\nmetrics = ["rows"]\n[data]', "policy.metrics.0"),
        ("[data]", "[policy]\nmax_epsilon = 0.0\n[data]", "policy.max_epsilon"),
        ("[data]", "[policy]\nmax_update_norm = nan\n[data]", "policy.max_update_norm"),
        ("[data]", "[policy]\nmeasure_noise = 0.05\n[data]", "policy.measure_noise"),
        ("[data]", "[policy]\nmeasure_noise = 1001.0\n[data]", "policy.measure_noise"),
        ("[data]", "[policy]\nmeasure_noise = -4.0\n[data]", "policy.measure_noise"),
        ("[data]", "[secrets]\n[data]", "secrets"),
        ('train = "train.npz"\ntest = "test.npz"', "", "data.features"),
    ],
)
def test_home_when_wrong_names_the_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert old in HOME
    with pytest.raises(SpecificationError) as refusal:
        read_home(HOME.replace(old, new), tmp_path)
    assert refusal.value.key == key


@pytest.mark.parametrize("noise", [0.0, 0.1, 1000.0])
def test_measure_noise_that_is_taken_can_be_accounted_for(tmp_path: Path, noise: float) -> None:
    text = HOME.replace("[data]", f"[policy]\nmeasure_noise = {noise}\n[data]")
    policy = read_home(text, tmp_path).policy
    assert policy.measure_noise == noise
    if noise:
        Mechanism(kind="discrete", noise_multiplier=noise, sample_rate=1.0, steps=1)


def test_home_when_longer_than_any_is_not_read_whole(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match="longer"):
        read_home(HOME + "#" * (1 << 20), tmp_path)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.binary(max_size=80), st.integers(0, 400), st.booleans())
def test_home_when_bytes_are_changed_is_read_or_an_error_by_name(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, alone: bool
) -> None:
    good = HOME.encode()
    text = data if alone else good[:at] + data + good[at + len(data) :]
    with suppress(SpecificationError):
        assert read_home(text, tmp_path_factory.mktemp("home")).site.name
