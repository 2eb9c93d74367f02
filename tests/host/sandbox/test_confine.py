"""The walls one by one, around a small process that tries everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wardround.host.sandbox.machine import Offer, offered
from wardround.host.sandbox.readable import readable_by_python
from wardround.host.sandbox.sandbox import Sandbox

pytestmark = pytest.mark.skipif(not offered().is_enough, reason="no sandbox on this machine")

HERE = Path(__file__).parent
GIB = 1 << 30
TRY = """
import json
from tests.host.sandbox.hostile import succeeded
from wardround.host.sandbox.confine import Confinement, confine
confine(Confinement.model_validate_json({keep!r}))
print(json.dumps(succeeded({home!r}, {guard}, {shown!r})))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("site.toml", "keystore.json"):
        (tmp_path / name).write_text("secret")
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "file").write_text("code")
    return tmp_path


def attempted(offer: Offer, home: Path) -> list[str]:
    found = readable_by_python(("wardround", "tests"))
    # The attempts are code of this repository, which no sandbox shows.
    files = (*found.files, str(HERE), str(home / "shown"))
    walls = Sandbox(offer, replace(found, files=files), 2 * GIB)
    guard = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        keep = walls.child()
        assert keep is not None
        statement = TRY.format(
            keep=keep.model_dump_json(),
            home=str(home),
            guard=guard.pid,
            shown=str(home / "shown" / "file"),
        )
        done = subprocess.run(
            walls.command(statement),
            env=walls.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert guard.poll() is None
    finally:
        guard.communicate(b"\n")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_attempts_without_namespaces_all_fail(home: Path) -> None:
    offer = replace(offered(), no_namespaces="not asked for")
    # What Landlock leaves: it may go where it can read nothing.
    assert set(attempted(offer, home)) <= {"enter_home"}


@pytest.mark.skipif(not offered().namespaces, reason="no namespaces on this machine")
def test_attempts_in_namespaces_all_fail(home: Path) -> None:
    assert attempted(offered(), home) == []


def test_attempts_without_a_sandbox_succeed(home: Path) -> None:
    """The attempts are no dummies: some of the harmless ones work where nothing forbids them."""
    from tests.host.sandbox.hostile import Attempts

    attempts = Attempts(str(home), os.getpid(), str(home / "shown" / "file"))
    harmless = "udp list_processes read_settings list_home change_mode rename show_memory"
    for name in harmless.split():
        getattr(attempts, name)()


LISTS = """
import json, os
from wardround.host.sandbox.confine import Confinement, confine
import wardround_client.guard.wire
confine(Confinement.model_validate_json({keep!r}))
import wardround.protocol.study
found = []
for folder in {folders!r}:
    try:
        os.listdir(folder)
        found.append(folder)
    except OSError:
        pass
print(json.dumps(found))
"""


def test_names_of_folders_that_python_was_started_in_or_given_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m` looks for modules where it was started, be it ``/`` or a user's home."""
    repository = str(HERE.parents[2])
    folders = ["/", "/root", "/home", str(tmp_path), str(tmp_path.parent), repository]
    folders += [f"{repository}/{name}" for name in ("docs", "tests", "client")]
    monkeypatch.setattr(sys, "path", ["/", str(tmp_path), repository, *sys.path])
    offer = replace(offered(), no_namespaces="not asked for")
    walls = Sandbox(offer, readable_by_python(("wardround", "wardround_client")), 2 * GIB)
    keep = walls.child()
    assert keep is not None
    done = subprocess.run(
        walls.command(LISTS.format(keep=keep.model_dump_json(), folders=folders)),
        env=walls.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
