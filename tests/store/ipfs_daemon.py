"""A real IPFS daemon for the tests: the npm package `ipfs` 0.66, with no network but loopback.

Installing it takes minutes, so it is not among the tools of `make setup`. `.ci/ipfs` installs it
into a folder of its own and runs these tests; elsewhere they are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

MODULES = "WARDROUND_IPFS_MODULES"
_SCRIPT = Path(__file__).with_suffix(".mjs")
_START_SECONDS = 60.0


def modules() -> Path:
    """The `node_modules` that has the daemon, or the end of the test with a reason."""
    found = os.environ.get(MODULES)
    if found is None:
        pytest.skip(f"{MODULES} names no node_modules with npm's ipfs: run .ci/ipfs")
    assert (Path(found) / "ipfs-core").is_dir(), f"{MODULES}: there is no ipfs in {found}"
    return Path(found)


class Daemon:
    """A daemon that may die and come back with its repository, on the same port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        # Node looks for packages from the script's folder upwards.
        (folder / "node_modules").symlink_to(modules().absolute(), target_is_directory=True)
        self._script = Path(shutil.copy(_SCRIPT, folder))
        self._repository = folder / "repository"
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"ipfs://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # A killed one leaves its lock behind; the test knows that it is dead.
        shutil.rmtree(self._repository / "repo.lock", ignore_errors=True)
        self._process = subprocess.Popen(
            ["node", str(self._script), str(self._repository), str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        limit = threading.Timer(_START_SECONDS, self._process.kill)
        limit.start()
        line = self._process.stdout.readline()
        limit.cancel()
        assert line.startswith("http://127.0.0.1:"), f"the daemon says {line!r}"
        self.port = int(line.rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
