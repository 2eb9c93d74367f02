"""A process of the site's user kills the guard, and reads the password on its way to the next one.

The guard closes its memory to other processes of its user, so a running one shows nothing. The one
that its supervisor starts after a death is another matter: it has a life before it closes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from wardround.learning.datasets.table import Table, save_table
from wardround.transport.certificates import AUTHORITY_CERTIFICATE, make_authority
from wardround_client.home import Home, make_home

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a password of the keystore"
START_SECONDS, STOP_SECONDS, THEFT_SECONDS = 60.0, 30.0, 40.0
#: No service listens there: neither chain nor coordinator is needed for this.
NO_SERVICE = "127.0.0.1:9"

SETTINGS = f"""[site]
name = "mercy"
[chain]
endpoints = ["http://{NO_SERVICE}"]
chain_id = 31337
contract = "0x{"11" * 20}"
[coordinator]
address = "{NO_SERVICE}"
root_certificate = "{AUTHORITY_CERTIFICATE}"
[policy]
[data]
name = "patients"
train = "train.npz"
test = "test.npz"
"""

# What root may do, an ordinary user may not: give up every capability, then become the program.
AS_ORDINARY_USER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)
libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def ordinary(*arguments: str | Path | float) -> list[str]:
    return [sys.executable, "-c", AS_ORDINARY_USER, *map(str, arguments)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A site's home with 30 patients, ready to run."""
    folder = tmp_path / "home"
    make_home(folder, SETTINGS, PASSWORD, 1_760_000_000, iterations=2)
    make_authority(tmp_path, "test", datetime.now(UTC))
    (tmp_path / AUTHORITY_CERTIFICATE).rename(folder / AUTHORITY_CERTIFICATE)
    random = np.random.default_rng(0)
    for name in ("train.npz", "test.npz"):
        features = random.standard_normal((30, 5), dtype=np.float32)
        save_table(Table(features, random.integers(0, 2, 30)), folder / name)
    return Home(folder)


def listens(home: Home) -> bool:
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(str(home.socket))
        except OSError:
            return False
        return True


@contextmanager
def running(home: Home, password: Path) -> Iterator[int]:
    """Let a site run as `wardround site run` does, until its guard listens; give its process."""
    # Little of this process's own, because the thief prints what it reads of it.
    kept = ("PATH", "HOME", "LANG", "LC_", "FLWR_", "PYTHON")
    environment = {name: one for name, one in os.environ.items() if name.startswith(kept)}
    command = ordinary("-m", "wardround", "site", "run", home.folder, "--password-file", password)
    with (home.folder.parent / "output.txt").open("wb") as output:
        site = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not listens(home) and site.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if not listens(home):
            pytest.fail(f"the site does not run: {(home.folder.parent / 'output.txt').read_text()}")
        yield site.pid
    finally:
        site.terminate()
        try:
            site.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            site.kill()
            site.wait()


def test_password_when_the_guard_is_killed_is_shown_to_no_process_of_the_user(
    home: Home, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    with running(home, password) as site:
        # The administrator keeps it elsewhere: from here on it is in no file.
        password.unlink()
        done = subprocess.run(
            ordinary("-m", "tests.attacks.key_thief", home.socket, site, THEFT_SECONDS),
            cwd=ROOT,
            capture_output=True,
            timeout=THEFT_SECONDS + 20,
        )
    if not done.stdout.startswith(b"capabilities 0\nkilled the guard\n"):
        pytest.fail(f"the thief did not get to work: {done.stdout!r} {done.stderr!r}")
    assert PASSWORD.encode() not in done.stdout, "a process of the same user has the password"
    assert b"the guard listens again" in done.stdout
