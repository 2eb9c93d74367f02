"""The libraries that a reader's browser runs: copied from npm as they are, and pinned.

They are single files of plain ECMAScript, so nothing is bundled, minified or edited: what is served
is what their author published. ``vendor.json`` names each package's version, the integrity that npm
states for its archive, and the SHA-256 of each file kept here.

To move on, raise versions in ``vendor.json``, empty their ``integrity`` and run, with npm at hand::

    python -m wardround.explorer.web.vendor

It fetches every package, and writes its files and digests; where nothing has changed, `git diff`
shows nothing. A test compares the files with their digests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from wardround.explorer.errors import ExplorerError

FOLDER = Path(__file__).parent / "static" / "vendor"
LIST = FOLDER / "vendor.json"


def packages() -> list[dict[str, Any]]:
    """The list of what is vendored: name, version, folder, integrity, files and their digests."""
    listed: list[dict[str, Any]] = json.loads(LIST.read_text(encoding="utf-8"))
    return listed


def fetch(package: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """Take a package's files from npm.

    Args:
        package: an entry of the list; an empty ``integrity`` accepts what comes.
        folder: a scratch folder.
    Raises:
        ExplorerError: npm sent another archive than the pinned one.
    """
    spec = f"{package['name']}@{package['version']}"
    done = subprocess.run(
        ["npm", "pack", "--json", "--silent", spec],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    archive = folder / json.loads(done.stdout)[0]["filename"]
    digest = hashlib.sha512(archive.read_bytes()).digest()
    integrity = "sha512-" + base64.b64encode(digest).decode()
    if package["integrity"] not in ("", integrity):
        raise ExplorerError(f"{spec}: npm sent {integrity}, not the pinned archive.")
    package["integrity"] = integrity
    files = {}
    with tarfile.open(archive) as packed:
        for name in package["files"]:
            member = packed.extractfile(f"package/{name}")
            assert member is not None  # a name that is no file raises KeyError before
            files[name] = member.read()
    return files


def main() -> None:
    """Fetch all packages and write them."""
    listed = packages()
    with tempfile.TemporaryDirectory() as scratch:
        for package in listed:
            for name, data in fetch(package, Path(scratch)).items():
                path = FOLDER / package["folder"] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                package["files"][name] = hashlib.sha256(data).hexdigest()
    LIST.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
