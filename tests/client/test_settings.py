from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from wardround.protocol.errors import SpecificationError
from wardround_client.settings import (
    SITE_FILE,
    HomeSettings,
    PreparedTables,
    load_home_settings,
    load_site_settings,
)
from wardround_client.sources.settings import DataSettings

GOOD = f"""[site]
name = "cleveland"
key_file = "site.key"

[study]
chain = "http://127.0.0.1:8545"
chain_id = 31337
contract = "0x{"ab" * 20}"
id = "0x{"cd" * 32}"

[data]
train = "train.npz"
test = "test.npz"
"""


def test_settings_when_read_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / SITE_FILE).write_text(GOOD)
    settings = load_site_settings(tmp_path)
    assert (settings.site.name, settings.study.chain_id) == ("cleveland", 31337)
    assert settings.study_id == b"\xcd" * 32
    assert (settings.data.train, settings.data.test) == ("train.npz", "test.npz")


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('name = "cleveland"', 'name = "Cleveland Clinic"', 2, "site.name"),
        ('key_file = "site.key"', 'key_file = "site.key"\nkey = "0x1"', 4, "site.key"),
        ("chain_id = 31337", 'chain_id = "31337"', 7, "study.chain_id"),
        ('train = "train.npz"', "", 11, "data.train"),
        ("cd" * 32, "cd" * 33, 9, "study.id"),
        ("[data]", "[date]", 11, "date"),
    ],
)
def test_settings_when_wrong_name_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    path = tmp_path / SITE_FILE
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SpecificationError) as refusal:
        load_site_settings(tmp_path)
    assert refusal.value.key == key
    assert str(refusal.value).startswith(str(path))
    assert refusal.value.line in (line, None)


def test_settings_when_missing_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=SITE_FILE):
        load_site_settings(tmp_path)


# ---------------------------------------------------------------- a hospital's home

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


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"mercy"', '"Mercy West"', "site.name"),
        ("31337", "0", "chain.chain_id"),
        ('["http://127.0.0.1:8545", "http://127.0.0.1:8546"]', "[]", "chain.endpoints"),
        ('"train.npz"', "7", "data.train"),
        ('name = "patients"', "", "data.name"),
        ("[data]", '[policy]\nmetrics = ["rows"]\n[data]', "policy.metrics"),
        ("[data]", "[policy]\nmax_epsilon = 0.0\n[data]", "policy.max_epsilon"),
        ("[data]", "[policy]\nmax_update_norm = nan\n[data]", "policy.max_update_norm"),
        ("[data]", "[secrets]\n[data]", "secrets"),
        ('train = "train.npz"\ntest = "test.npz"', "", "data.features"),
    ],
)
def test_home_when_wrong_names_the_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert old in HOME
    with pytest.raises(SpecificationError) as refusal:
        read_home(HOME.replace(old, new), tmp_path)
    assert refusal.value.key == key


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
