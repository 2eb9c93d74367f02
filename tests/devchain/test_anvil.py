"""No anvil outlives the process that started it, however either of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wardround.devchain.anvil import Anvil, find_anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis

GENESIS = Genesis(31_337_009, 1_760_000_000, {})
END_SECONDS = 10.0


@pytest.fixture(autouse=True)
def anvil_is_there() -> None:
    try:
        find_anvil()
    except AnvilMissing as error:
        pytest.skip(str(error))


def group_is_left(leader: int) -> bool:
    """Whether anything of a process group is left: anvil, or who watches over it."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def ends(leader: int) -> bool:
    deadline = time.monotonic() + END_SECONDS
    while group_is_left(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


OWNER = """
import sys, time
from pathlib import Path
from wardround.devchain.anvil import Anvil, Lease
from wardround.devchain.evm import Genesis
lease = Lease(Path(sys.argv[1])) if len(sys.argv) > 1 else None
anvil = Anvil(Genesis(31_337_009, 1_760_000_000, {}), lease=lease)
print(anvil.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("leased", [False, True])
def test_anvil_ends_when_its_owner_is_killed(tmp_path: Path, leased: bool) -> None:
    arguments = [str(tmp_path / "lease")] if leased else []
    command = [sys.executable, "-c", OWNER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            pid = int(owner.stdout.readline())
            assert group_is_left(pid)
        finally:
            owner.kill()
    assert ends(pid)


def test_anvil_that_stops_leaves_nobody_behind() -> None:
    with Anvil(GENESIS) as anvil:
        assert anvil.chain.chain_id == GENESIS.chain_id
        pid = anvil.pid
    assert ends(pid)


def test_anvil_that_is_killed_leaves_nobody_behind() -> None:
    with Anvil(GENESIS) as anvil:
        pid = anvil.pid
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + END_SECONDS
        while not anvil.ended and time.monotonic() < deadline:
            time.sleep(0.02)
        assert anvil.ended
        assert group_is_left(pid)  # who watched over it, until we are done with it
    assert ends(pid)
