"""What every test may count on, also when pytest is started without make."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.calling import Call, Ended
from tests.chromium import launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before any test imports Flower: it reports nothing, looks for no updates, installs nothing.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# A folder beside the checkout may hold the hospitals' files; without it, tests that need them
# download them or skip with the reason.
_data = Path(__file__).resolve().parents[2] / "shared" / "data"
if _data.is_dir():
    os.environ.setdefault("WARDROUND_DATA_DIR", str(_data))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files first whose tests may take longest: a worker that ends with one is alone."""
    limits: dict[Path, float] = defaultdict(float)
    for item in items:
        if mark := item.get_closest_marker("timeout"):
            limits[item.path] = max(limits[item.path], *mark.args)
    items.sort(key=lambda item: -limits[item.path])


@pytest.fixture(autouse=True)
def commands_stay_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of a site goes on in a fork, which here would be one of the tests themselves."""
    monkeypatch.setattr("wardround_client.private_memory.keep_memory_private", lambda: None)


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    """Call ``wardround`` in this process, in a folder of its own."""
    from wardround.command_line import main  # after the variables above

    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["wardround", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run_command


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: while it is open, no other event loop can run in its thread."""
    with launched() as opened:
        yield opened
