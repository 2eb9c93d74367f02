"""Bundles: what is in them, and every way to put something else in."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab
from hypothesis import given
from hypothesis import strategies as st

from wardround.host.code import MARKERS, PACKAGES, application_digest, training_files
from wardround.protocol.code import code_digest
from wardround.transport.bundle import read_bundle, write_app, write_bundle
from wardround.transport.errors import BundleRefused

FILES = {f"{package}/__init__.py": f"# {package}\n".encode() for package in PACKAGES}
FILES |= dict.fromkeys(MARKERS, b"")
FILES["wardround_client/app/client_app.py"] = b"app = None\n"


def packed(
    rows: dict[str, bytes] | list[tuple[str, bytes]],
    change: Callable[[zipfile.ZipInfo], None] = lambda info: None,
    *,
    content: bool = True,
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """Pack rows beside the good settings, with a CONTENT that names them all."""
    pairs = list(rows.items()) if isinstance(rows, dict) else rows
    good = good_rows()
    pairs = [*((k, v) for k, v in good.items() if k not in dict(pairs)), *pairs]
    if content:
        lines = [f"{path},{sha256(data).hexdigest()},{8 * len(data)}" for path, data in pairs]
        pairs.append((".info/CONTENT", "\n".join(lines).encode()))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, data in pairs:
            info = zipfile.ZipInfo(path)
            info.compress_type = method
            change(info)
            archive.writestr(info, data)
    return buffer.getvalue()


def good_rows() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(write_bundle(FILES))) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name[0] != "."}


def test_bundle_gives_back_the_files() -> None:
    assert read_bundle(write_bundle(FILES)) == FILES
    assert read_bundle(packed({})) == FILES


def test_bundle_of_the_installed_application_has_its_digest() -> None:
    bundle = write_bundle(training_files())
    assert code_digest(read_bundle(bundle)) == application_digest()
    assert bundle == write_bundle(dict(reversed(training_files().items())))


def test_flower_unpacks_what_was_written(tmp_path: Path) -> None:
    folder = install_from_fab(write_bundle(FILES), tmp_path, skip_prompt=True)
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")
    }
    assert found == FILES


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Flower's own
def test_bundle_that_flower_builds_of_the_written_folder_is_accepted(tmp_path: Path) -> None:
    """`simulate --engine flwr` writes the folder that `flwr run` packs."""
    write_app(tmp_path, training_files())
    assert code_digest(read_bundle(build_fab_from_disk(tmp_path))) == application_digest()


SHADOWS = [
    "sitecustomize.py",
    "usercustomize.py",
    "numpy.py",
    "numpy/__init__.py",
    "torch/__init__.py",
    "wardround_simulations/__init__.py",
    "wardround/chain/artifacts/__init__.py",
    "wardround/transport/__init__.py",
    "conftest.py",
    "wardround_client/app/data.json",
    "wardround_client/app/native.so",
    "wardround_client/app/client_app.pyc",
    "wardround_client/app/__pycache__/client_app.cpython-311.pyc",
    "wardround/learning/x.pth",
    "README.md",
    "extra.toml",
    ".info/OTHER",
    "wardround_client/app/.hidden.py",
    "wardround_client/app//site.py",
    "wardround_client/app/./site.py",
    "wardround_client/app/../numpy.py",
    "../numpy.py",
    "/tmp/numpy.py",
    "wardround_client/app\\..\\numpy.py",
    "C:/numpy.py",
    "wardround_client/app/site.py/",
    "wardround_client/app/",
    "wardround_client/App/site.py",
    "wardround_client/app/Site.py",
    "wardround_client/app/sité.py",
    "wardround_client/app/site.py\n",
    " wardround_client/app/site.py",
    "wardround/rules.py",
    "wardround/protocolx/rules.py",
    "wardround_client/home.py",
    "wardround_client/guard/guard.py",
    "wardround_coordinator/server_app.py",
]


@pytest.mark.parametrize("name", SHADOWS)
def test_bundle_with_another_file_is_refused(name: str) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(packed({name: b"raise SystemExit\n"}))


def test_name_cut_off_by_a_zero_byte_is_refused() -> None:
    data = packed({"wardround_client/app/aaaaa.py": b""}).replace(
        b"wardround_client/app/aaaaa.py", b"wardround_client/app/b.py\0.so"
    )
    with pytest.raises(BundleRefused):
        read_bundle(data)


def test_file_that_is_there_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = packed(
            [
                ("wardround_client/app/site.py", b"a"),
                ("wardround_client/app/site.py", b"b"),
            ]
        )
    with pytest.raises(BundleRefused, match="twice"):
        read_bundle(data)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_anything_but_a_plain_file_is_refused(kind: int) -> None:
    def change(info: zipfile.ZipInfo) -> None:
        if info.filename == "wardround_client/app/site.py":
            info.external_attr = (kind | 0o777) << 16

    with pytest.raises(BundleRefused, match="plain file"):
        read_bundle(packed({"wardround_client/app/site.py": b"/etc/passwd"}, change))


def test_encrypted_file_is_refused() -> None:
    data = bytearray(packed({}))
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    with pytest.raises(BundleRefused):
        read_bundle(bytes(data))


def test_bomb_is_refused_before_it_goes_off() -> None:
    big = b"#" * (1024 * 1024 + 1)
    with pytest.raises(BundleRefused, match="too large"):
        read_bundle(packed({"wardround_client/app/site.py": big}))
    many = {f"wardround_client/app/m{number}.py": b"#" * 1024 * 1000 for number in range(18)}
    with pytest.raises(BundleRefused, match="too large"):
        read_bundle(packed(many))
    with pytest.raises(BundleRefused, match="files"):
        read_bundle(packed({f"wardround_client/app/m{number}.py": b"" for number in range(2001)}))
    with pytest.raises(BundleRefused, match="bytes"):
        read_bundle(bytes(10 * 1024 * 1024 + 1))


def test_size_in_the_header_is_not_believed() -> None:
    """The directory states ten bytes; the stream goes on for two megabytes."""
    data = bytearray(packed({"wardround_client/app/site.py": b"#" * 2_000_000}))
    at = data.rfind(b"wardround_client/app/site.py") - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    with pytest.raises(BundleRefused):
        read_bundle(bytes(data))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("wardround_client.app.client_app:app", "client.evil:app"),
        ("wardround_coordinator.server_app:app", "x:app"),
        ('network = ""', 'network = "/etc"'),
        ('network = ""', 'network = ""\nother = 1'),
        ('name = "wardround"', 'name = "other"'),
        ('publisher = "wardround"', 'publisher = "other"'),
        ('version = "', 'version = "/../'),
        ("[tool.flwr.app.components]\n", '[tool.flwr.app.components]\nagentapp = "a:b"\n'),
        ("[tool.flwr.app]\n", "[tool.flwr.federations]\n[tool.flwr.app]\n"),
        ("[tool.flwr.app]\n", "[tool.flwr.other]\n"),
        ("[project]", "[project"),
    ],
)
def test_other_settings_are_refused(before: str, after: str) -> None:
    text = good_rows()["pyproject.toml"].decode()
    assert before in text
    with pytest.raises(BundleRefused):
        read_bundle(packed({"pyproject.toml": text.replace(before, after, 1).encode()}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"../../etc/passwd,00,8",
        b"pyproject.toml,00,8",
    ],
)
def test_content_that_names_other_files_is_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(packed({".info/CONTENT": content}, content=False))


def test_bundle_without_content_or_settings_is_refused() -> None:
    with pytest.raises(BundleRefused, match="missing"):
        read_bundle(packed({}, content=False))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_other_compression_is_read_alike(method: int) -> None:
    assert read_bundle(packed({}, method=method)) == FILES


GOOD = write_bundle(FILES)


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_changed_byte_is_refused_or_changes_nothing(place: int, change: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= change
    try:
        found = read_bundle(bytes(data))
    except BundleRefused:
        return
    assert found == FILES, "only bytes that say nothing of the files may change unnoticed"


def test_changed_source_has_another_digest() -> None:
    changed = {**FILES, "wardround_client/app/client_app.py": b"app = 1\n"}
    assert code_digest(read_bundle(write_bundle(changed))) != code_digest(FILES)
    assert zlib  # the errors of its streams are among those that are refused
