"""Which changes of the installed code stop a running study, and which do not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.test_house import ROOT
from wardround.host import code

INSTALLED = {
    "wardround": ROOT / "wardround",
    "wardround_client": ROOT / "client/wardround_client",
    "wardround_coordinator": ROOT / "coordinator/wardround_coordinator",
}


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the installed packages, from which the digest is computed."""
    for name, folder in INSTALLED.items():
        found = find_spec(name)
        assert found is not None
        assert found.origin == str(folder / "__init__.py"), "the tests run on this checkout"
        shutil.copytree(
            folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "static")
        )
    monkeypatch.setattr(
        code, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / name / "__init__.py"))
    )
    code.application_digest.cache_clear()
    yield tmp_path
    code.application_digest.cache_clear()


def change(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n# changed by a release\n")
    code.application_digest.cache_clear()


def test_the_digest_stays_when_a_release_changes_what_does_not_train(installation: Path) -> None:
    before = code.application_digest()
    packages = tuple(installation / package for package in code.PACKAGES)
    markers = [installation / marker for marker in code.MARKERS]
    changed = set()
    for file in installation.rglob("*"):
        trains = file in markers or any(file.is_relative_to(package) for package in packages)
        if file.is_file() and not trains:
            change(file)
            changed.add(file.relative_to(installation).as_posix())
    assert changed >= {"wardround/command_line.py", "wardround_coordinator/round.py"}
    assert any(name.startswith("wardround_client/guard/") for name in changed)
    assert any(name.endswith(".html") for name in changed)
    assert code.application_digest() == before


@pytest.mark.parametrize("package", code.PACKAGES)
def test_the_digest_changes_with_every_file_that_trains(installation: Path, package: str) -> None:
    before = code.application_digest()
    files = sorted((installation / package).rglob("*.py"))
    assert files
    for file in files:
        change(file)
        assert code.application_digest() != before, file
        before = code.application_digest()


def test_the_digest_changes_with_a_new_file_that_trains(installation: Path) -> None:
    before = code.application_digest()
    (installation / "wardround/learning/new.py").write_bytes(b"")
    code.application_digest.cache_clear()
    assert code.application_digest() != before
