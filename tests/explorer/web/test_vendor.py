"""What a reader's browser runs is what its authors published, with their licence."""

import json
import shutil
from pathlib import Path

import pytest

from wardround.explorer.errors import ExplorerError
from wardround.explorer.web import vendor


def test_every_vendored_file_has_its_pinned_digest() -> None:
    vendor.check_files()
    for package in vendor.packages():
        assert package["integrity"].startswith("sha512-")
        assert "LICENSE" in package["files"]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "vendor"
    shutil.copytree(vendor.FOLDER, folder)
    monkeypatch.setattr(vendor, "FOLDER", folder)
    monkeypatch.setattr(vendor, "LIST", folder / "vendor.json")
    return folder


def test_a_changed_byte_is_noticed(copy: Path) -> None:
    path = copy / "noble-hashes" / "sha3.js"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ExplorerError, match="SHA-256"):
        vendor.check_files()


def test_a_missing_file_is_noticed(copy: Path) -> None:
    (copy / "noble-secp256k1" / "LICENSE").unlink()
    with pytest.raises(ExplorerError, match="missing"):
        vendor.check_files()


def test_a_file_that_is_not_listed_is_noticed(copy: Path) -> None:
    (copy / "extra.js").write_text("alert(1)")
    with pytest.raises(ExplorerError, match=r"extra\.js"):
        vendor.check_files()


def test_scripts_import_nothing_from_elsewhere() -> None:
    static = vendor.FOLDER.parent
    listed = json.loads((static / "vendor" / "vendor.json").read_text())
    assert {one["licence"] for one in listed} == {"MIT"}
    for path in static.rglob("*.js"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "export * from", "} from ")) and " from " in line:
                source = line.split(" from ")[1].strip("'\"; ")
                assert source.startswith("."), f"{path.name} imports {source}"
