from __future__ import annotations

from pathlib import Path

import pytest

from wardround.protocol.errors import SpecificationError
from wardround_coordinator.settings import COORDINATOR_FILE, load_coordinator_settings

GOOD = f"""[coordinator]
key_file = "coordinator.key"
store = "../store"
rounds_file = "../rounds.jsonl"

[study]
chain = "http://127.0.0.1:8545"
chain_id = 31337
contract = "0x{"ab" * 20}"
id = "0x{"cd" * 32}"
sites = 4
"""


def test_settings_when_read_have_defaults(tmp_path: Path) -> None:
    (tmp_path / COORDINATOR_FILE).write_text(GOOD)
    settings = load_coordinator_settings(tmp_path)
    assert settings.study_id == b"\xcd" * 32
    assert (settings.coordinator.reply_seconds, settings.coordinator.attempts) == (3600.0, 3)


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("chain_id = 31337", "chain_id = 0", 8, "study.chain_id"),
        ("sites = 4", "sites = 0", 11, "study.sites"),
        ("sites = 4", "sites = 4\nsite = 5", 12, "study.site"),
        ('store = "../store"', "", 1, "coordinator.store"),
        ('store = "../store"', 'store = "x"\nreply_seconds = 0.0', 4, "coordinator.reply_seconds"),
        ('store = "../store"', 'store = "x"\nattempts = 0', 4, "coordinator.attempts"),
        ("cd" * 32, "cd" * 31, 10, "study.id"),
        ("ab" * 20, "aB" + "ab" * 19, 9, "study.contract"),
    ],
)
def test_settings_when_wrong_name_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    path = tmp_path / COORDINATOR_FILE
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SpecificationError) as refusal:
        load_coordinator_settings(tmp_path)
    assert (refusal.value.line, refusal.value.key) == (line, key)
    assert str(refusal.value).startswith(f"{path}:{line}: {key}")
