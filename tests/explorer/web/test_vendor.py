"""What a reader's browser runs is what its authors published, with their licence."""

import hashlib
import json

from wardround.explorer.web import vendor


def test_every_vendored_file_has_its_pinned_digest_and_there_are_no_others() -> None:
    pinned = {}
    for package in vendor.packages():
        assert package["integrity"].startswith("sha512-")
        assert "LICENSE" in package["files"]
        for name, digest in package["files"].items():
            pinned[f"{package['folder']}/{name}"] = digest
    present = {
        path.relative_to(vendor.FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendor.FOLDER.rglob("*")
        if path.is_file() and path != vendor.LIST
    }
    assert present == pinned


def test_scripts_import_nothing_from_elsewhere() -> None:
    static = vendor.FOLDER.parent
    listed = json.loads((static / "vendor" / "vendor.json").read_text())
    assert {one["licence"] for one in listed} == {"MIT"}
    for path in static.rglob("*.js"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "export * from", "} from ")) and " from " in line:
                source = line.split(" from ")[1].strip("'\"; ")
                assert source.startswith("."), f"{path.name} imports {source}"
