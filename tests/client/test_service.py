"""What `site run` reports when a coordinator's certificate is invalid, and valid again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.transport.test_certificates import served
from wardround.transport.certificates import AUTHORITY_CERTIFICATE, issue_server, make_authority
from wardround_client.service import Coordinator

NOW = datetime.now(UTC)
LATER = 1e6  # past any pause


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Path]:
    """A coordinator's certificates; the server's was valid for a day, ten days ago."""
    folder = tmp_path / "tls"
    folder.mkdir()
    make_authority(folder, "test", NOW - timedelta(days=20))
    issue_server(folder, ["127.0.0.1"], NOW - timedelta(days=10), 1)
    return folder


def test_expired_certificate_of_the_coordinator_is_waited_out(tls: Path, tmp_path: Path) -> None:
    root = tmp_path / "coordinator.pem"
    shutil.copyfile(tls / AUTHORITY_CERTIFICATE, root)
    said: list[str] = []
    with served(tls) as address:
        coordinator = Coordinator(address, root, said.append)
        coordinator.look(0)
        coordinator.look(LATER)
    (words,) = said  # once, however often it is looked at
    assert str(address) in words
    assert "expired" in words
    assert "ask it to renew: `wardround coordinator renew`" in words
    assert words.endswith("Trying again")
    issue_server(tls, ["127.0.0.1"], NOW)
    with served(tls) as address:
        coordinator.address = address
        coordinator.look(2 * LATER)
    assert said[1:] == [f"the coordinator at {address} answers"]
