"""A study's code that tries everything, as an ordinary user and as root of a container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.trainer.hospital import LIES_TOLD
from wardround.host.sandbox.machine import offered

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 400
pytestmark = [
    pytest.mark.deep,
    pytest.mark.timeout(SECONDS + 60),
    pytest.mark.skipif(not offered().is_enough, reason="no sandbox on this machine"),
]

NOBODY = 65534
# Python may be installed in root's home, which no other user enters: show that folder alone.
AS_NOBODY = f"""
set -e
prefix=$(readlink -f "$1"); shift
home=${{HOME:-/root}}
case "$prefix/" in "$home"/*)
  held=$(mktemp -d)
  mount --bind "$prefix" "$held"
  mount -t tmpfs -o mode=755 tmpfs "$home"
  mkdir -p "$prefix"
  mount --bind "$held" "$prefix"
esac
exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all \
  --bounding-set=-all "$@"
"""


def as_user(user: str) -> list[str]:
    if user == "root" or os.getuid() != 0:
        return []
    return ["unshare", "--mount", "bash", "-c", AS_NOBODY, "bash", sys.base_prefix]


def played(user: str, walls: str, folder: Path) -> dict[str, Any]:
    command = [*as_user(user), sys.executable, "-m", "tests.client.trainer.hospital", walls]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True,
        text=True, timeout=SECONDS
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("walls", ["namespaces", "none"])
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_hostile_code_when_trained_reaches_nothing(user: str, walls: str) -> None:
    if walls == "namespaces" and not offered().namespaces:
        pytest.skip("no namespaces on this machine")
    if user == "root" and os.getuid() != 0:
        pytest.skip("this is no root")
    # Not pytest's own, which other users cannot enter.
    folder = Path("/tmp") / f"wardround-hospital-{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o777)
    try:
        found = played(user, walls, folder)
    finally:
        shutil.rmtree(folder)
    assert ("namespaces" in found["walls"].split(", ")) == (walls == "namespaces")
    if user == "nobody" and os.getuid() == 0:
        assert found["user"] == NOBODY
    # Landlock lets a process go where it can read nothing.
    assert set(found["succeeded"]) <= ({"enter_home"} if walls == "none" else set())
    assert found["sibling"] == []
    assert "was ended after" in found["endless"]
    assert "cut off" in found["aborts"]
    assert found["threads"].startswith("trainer-failed: ")
    assert found["beside hoarders"] is True
    assert "MemoryError" in found["memory"]
    assert set(found["lies"]) == set(LIES_TOLD)
    assert all("was cut off" in said for said in found["lies"].values())
    # Its rows had gone out, so it counts as the code's failure.
    assert found["restarted"].startswith("trainer-failed: ")
    assert any(one.startswith("the trainer was killed by signal 9") for one in found["told"])
    assert found["honest before"] is found["honest after"] is True
    assert found["home"] == ["guard.log", "keystore.json", "site.toml"]
