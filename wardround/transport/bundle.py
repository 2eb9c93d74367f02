"""The application bundle that Flower carries from a coordinator to its sites, and its check.

A bundle (FAB) is a ZIP archive. Flower unpacks what it gets and puts the folder first on Python's
path, so any file in it may run: not only the application's packages, but also a `numpy.py` or a
`sitecustomize.py` at the top. Therefore `read_bundle` accepts the application's Python files and
Flower's two files about them, and nothing else. It never writes anything.

It reads archives with the same `zipfile` as Flower does, so that both see the same files in them.
"""

from __future__ import annotations

import io
import re
import stat
import tomllib
import zipfile
import zlib
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wardround.host.code import MARKERS, PACKAGES
from wardround.transport.errors import BundleRefused

#: What the bundle's ``pyproject.toml`` must give to Flower.
COMPONENTS = {
    "serverapp": "wardround_coordinator.server_app:app",
    "clientapp": "wardround_client.app.client_app:app",
}
CONFIG = {"network": ""}
PROJECT, PUBLISHER = "wardround", "wardround"

_SETTINGS, _CONTENT = "pyproject.toml", ".info/CONTENT"
_SOURCE = re.compile(
    rf"(?:{'|'.join(MARKERS)}|(?:{'|'.join(PACKAGES)})(?:/[a-z_][a-z0-9_]*)*/[a-z_][a-z0-9_]*\.py)"
)
#: Of the application, as a run may name it.
VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
#: Flower itself takes no larger archive.
BUNDLE_MAX_BYTES = 10 * 1024 * 1024
_FILES_MAX = 2_000
_FILE_MAX_BYTES = 1024 * 1024
_TOTAL_MAX_BYTES = 16 * 1024 * 1024
_ENCRYPTED = 0x1
_DATE = (2024, 10, 1, 0, 0, 0)  # fixed, so that the same code gives the same bytes


def write_bundle(files: Mapping[str, bytes]) -> bytes:
    """Pack the application's files.

    Args:
        files: content by path, such as ``wardround/protocol/rules.py``.

    Returns:
        The archive, as `flwr build` would make it of these files.
    """
    rows = {_SETTINGS: _settings(), **{path: files[path] for path in sorted(files)}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**rows, _CONTENT: _content(rows)}.items():
            info = zipfile.ZipInfo(path, _DATE)
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def write_app(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the folder that `flwr run` takes, of which `flwr build` makes this bundle."""
    for path, data in {_SETTINGS: _settings(), **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def read_bundle(data: bytes) -> dict[str, bytes]:
    """Take a bundle apart, in memory.

    Args:
        data: from an unauthenticated coordinator.

    Returns:
        The application's files: content by path.

    Raises:
        BundleRefused: it holds anything but the application's files and Flower's own two, or is
            too large, or is no archive.
    """
    if len(data) > BUNDLE_MAX_BYTES:
        raise BundleRefused(f"it has more than {BUNDLE_MAX_BYTES:,} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = _files(archive)
    # RuntimeError is zipfile's word for a password, or for a compression that it does not know.
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        raise BundleRefused(f"it is not a sound archive ({error})") from error
    content = files.pop(_CONTENT, None)
    settings = files.get(_SETTINGS)
    if content is None or settings is None:
        missing = _CONTENT if content is None else _SETTINGS
        raise BundleRefused(f"{missing} is missing from it")
    if sorted(content.split(b"\n")) != sorted(_content(files).split(b"\n")):
        raise BundleRefused(f"its {_CONTENT} does not name exactly the files in it")
    _check_settings(files.pop(_SETTINGS))
    return files


def _files(archive: zipfile.ZipFile) -> dict[str, bytes]:
    members = archive.infolist()
    if len(members) > _FILES_MAX:
        raise BundleRefused(f"it has more than {_FILES_MAX:,} files")
    files: dict[str, bytes] = {}
    total = 0
    for member in members:
        # The original name too: zipfile cuts a name at a zero byte, and turns backslashes around.
        name = member.orig_filename
        if name != member.filename or not (
            name in (_SETTINGS, _CONTENT) or _SOURCE.fullmatch(name)
        ):
            raise BundleRefused(f"{_printable(name)} in it is no part of the application")
        if name in files:
            raise BundleRefused(f"it has {name} twice")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or member.flag_bits & _ENCRYPTED:
            raise BundleRefused(f"{name} in it is not a plain file")
        with archive.open(member) as file:  # the size in the header is only a claim
            files[name] = file.read(_FILE_MAX_BYTES + 1)
        total += len(files[name])
        if len(files[name]) > _FILE_MAX_BYTES or total > _TOTAL_MAX_BYTES:
            raise BundleRefused(f"its files are too large: {name}")
    return files


def _check_settings(data: bytes) -> None:
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleRefused(f"its {_SETTINGS} is not TOML ({error})") from error
    flower = _table(_table(document, "tool"), "flwr")
    app = _table(flower, "app")
    # Flower's rules for filling the archive; its content was checked above.
    found = {key: app[key] for key in app if key not in ("fab-include", "fab-exclude")}
    expected = {"publisher": PUBLISHER, "components": COMPONENTS, "config": CONFIG}
    if set(flower) != {"app"} or found != expected:
        raise BundleRefused(f"its {_SETTINGS} would have Flower start something else")
    project = _table(document, "project")
    named = (project.get("name"), VERSION.fullmatch(str(project.get("version"))) is not None)
    if named != (PROJECT, True):
        raise BundleRefused(f"its {_SETTINGS} names another project")


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise BundleRefused(f"its {_SETTINGS} has no table {key}")
    return value


def _settings() -> bytes:
    try:
        release = version(PROJECT)
    except PackageNotFoundError:
        release = "0"  # run from a folder that was never installed
    return (
        f'[project]\nname = "{PROJECT}"\nversion = "{release}"\n\n'
        f'[tool.flwr.app]\npublisher = "{PUBLISHER}"\n\n'
        "[tool.flwr.app.components]\n"
        + "".join(f'{key} = "{value}"\n' for key, value in COMPONENTS.items())
        + "\n[tool.flwr.app.config]\n"
        + "".join(f'{key} = "{value}"\n' for key, value in CONFIG.items())
    ).encode()


def _content(files: Mapping[str, bytes]) -> bytes:
    rows = (f"{path},{sha256(data).hexdigest()},{8 * len(data)}" for path, data in files.items())
    return "\n".join(rows).encode()


def _printable(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:80]}…")
