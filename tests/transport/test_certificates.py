"""Certificates: made here, checked by a real handshake on a real socket."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wardround.transport.certificates import (
    AUTHORITY_CERTIFICATE,
    SERVER_CERTIFICATE,
    SERVER_KEY,
    Address,
    check_time,
    greet,
    issue_server,
    make_authority,
)
from wardround.transport.errors import (
    CertificateExpired,
    PeerAway,
    TransportError,
)
from wardround.transport.ports import free_port

NOW = datetime.now(UTC)


def made(folder: Path, *, hosts: list[str] | None = None, days: float = 1) -> Path:
    folder.mkdir()
    make_authority(folder, "test", NOW)
    issue_server(folder, hosts or ["127.0.0.1"], NOW, days)
    return folder


@contextmanager
def served(folder: Path) -> Iterator[Address]:
    """Make TLS handshakes with the folder's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / SERVER_CERTIFICATE, folder / SERVER_KEY)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Address("127.0.0.1", server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def test_server_is_greeted_when_its_authority_is_trusted(tmp_path: Path) -> None:
    tls = made(tmp_path / "tls")
    with served(tls) as address:
        greet(address, tls / AUTHORITY_CERTIFICATE)


def test_server_is_refused_when_another_authority_made_it(tmp_path: Path) -> None:
    tls, other = made(tmp_path / "tls"), made(tmp_path / "other")
    with served(tls) as address, pytest.raises(TransportError, match="not the coordinator"):
        greet(address, other / AUTHORITY_CERTIFICATE)


def test_server_is_refused_when_its_certificate_is_for_another_host(tmp_path: Path) -> None:
    tls = made(tmp_path / "tls", hosts=["fl.example.org"])
    with served(tls) as address, pytest.raises(TransportError, match=r"not for 127\.0\.0\.1"):
        greet(address, tls / AUTHORITY_CERTIFICATE)


def test_expired_certificate_is_named_on_both_sides(tmp_path: Path) -> None:
    tls = made(tmp_path / "tls", days=-1)
    with served(tls) as address, pytest.raises(CertificateExpired, match="coordinator renew"):
        greet(address, tls / AUTHORITY_CERTIFICATE)
    with pytest.raises(CertificateExpired, match=r"valid from 20.* UTC\) has .*: renew it\."):
        check_time(tls / SERVER_CERTIFICATE, NOW, "renew it")


def test_certificate_of_tomorrow_is_not_valid_yet(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    make_authority(tmp_path / "tls", "test", NOW + timedelta(days=2))
    with pytest.raises(CertificateExpired):
        check_time(tmp_path / "tls" / AUTHORITY_CERTIFICATE, NOW, "wait")


def test_renewed_certificate_is_trusted_as_before(tmp_path: Path) -> None:
    tls = made(tmp_path / "tls", days=-1)
    root = (tls / AUTHORITY_CERTIFICATE).read_bytes()
    issue_server(tls, ["127.0.0.1"], NOW, 30)
    assert (tls / AUTHORITY_CERTIFICATE).read_bytes() == root
    with served(tls) as address:
        greet(address, tls / AUTHORITY_CERTIFICATE)
    assert check_time(tls / SERVER_CERTIFICATE, NOW, "") > NOW + timedelta(days=29)


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    tls = made(tmp_path / "tls")
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((tls / name).stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_authority(tls, "again", NOW)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"x" * 70_000])
def test_file_without_certificate_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(TransportError, match=r"ca\.pem"):
        check_time(path, NOW, "")
    with pytest.raises(TransportError, match="cannot be used"):
        greet(Address("127.0.0.1", 1), path)
    with pytest.raises(TransportError, match="cannot be used"):
        check_time(tmp_path / "missing.pem", NOW, "")


def test_nobody_there_is_told_apart(tmp_path: Path) -> None:
    tls = made(tmp_path / "tls")
    with pytest.raises(PeerAway, match="no answer at"):
        greet(Address("127.0.0.1", free_port()), tls / AUTHORITY_CERTIFICATE, 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(PeerAway, match="timed out"):
            greet(address, tls / AUTHORITY_CERTIFICATE, 0.2)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("fl.example.org:8443", Address("fl.example.org", 8443)),
        ("127.0.0.1:1", Address("127.0.0.1", 1)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_address_reads_as_it_is_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:0", "host:65536", "h:x", "h:-1"])
def test_address_without_host_or_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Address.parse(text)
