from __future__ import annotations

from pathlib import Path

import pytest

from client.settings import SITE_FILE, load_site_settings
from protocol.errors import SpecificationError

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
