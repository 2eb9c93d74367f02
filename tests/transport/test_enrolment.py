"""A site's signature for its node key, and attempts to sign in the site's place."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from eth_account import Account
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wardround.transport.enrolment import ENROLMENT, NODE_KEY, enrol, read_enrolment
from wardround.transport.errors import TransportError

KEY = bytes(range(1, 33))
OTHER = bytes(range(2, 34))
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def home(tmp_path: Path) -> Path:
    enrol(tmp_path, "cleveland", KEY)
    return tmp_path


def changed(home: Path, **fields: Any) -> Path:
    path = home / ENROLMENT
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


def test_enrolment_names_site_and_node_key(home: Path) -> None:
    found = read_enrolment(home / ENROLMENT)
    assert found.address == Account.from_key(KEY).address
    assert found.name == "cleveland"
    private = load_ssh_private_key((home / NODE_KEY).read_bytes(), None)
    # As Flower's SuperNode reads it, and sends its public half.
    assert found.public_pem == public_key_to_bytes(private.public_key())  # type: ignore[arg-type]
    assert stat.S_IMODE((home / NODE_KEY).stat().st_mode) == 0o600


def test_enrolment_holds_no_secret(home: Path) -> None:
    text = (home / ENROLMENT).read_text()
    assert KEY.hex() not in text
    assert "PRIVATE" not in text


def test_node_key_is_never_overwritten(home: Path) -> None:
    with pytest.raises(FileExistsError):
        enrol(home, "cleveland", KEY)


def test_node_key_of_somebody_else_is_refused(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = enrol(other, "cleveland", OTHER)
    with pytest.raises(TransportError, match="has not signed this node key"):
        read_enrolment(changed(home, node_key=stranger.node_key))


def test_word_of_somebody_else_is_refused(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = enrol(other, "cleveland", OTHER)
    with pytest.raises(TransportError, match="has not signed"):
        read_enrolment(changed(home, signature=stranger.signature))
    with pytest.raises(TransportError, match="has not signed"):
        read_enrolment(changed(home, name="budapest"))


def test_other_form_of_a_signature_is_refused(home: Path) -> None:
    signature = bytes.fromhex(json.loads((home / ENROLMENT).read_text())["signature"][2:])
    high = _ORDER - int.from_bytes(signature[32:64], "big")
    other = signature[:32] + high.to_bytes(32, "big") + bytes([55 - signature[64]])
    with pytest.raises(TransportError, match="upper half"):
        read_enrolment(changed(home, signature="0x" + other.hex()))


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "wardround-enrolment/2"},
        {"name": "../x"},
        {"site": "0x12"},
        {"node_key": "ssh-ed25519 AAAA"},
        {"node_key": "ecdsa-sha2-nistp384 " + "A" * 200},
        {"signature": "0x" + "00" * 65},
        {"signature": "0x" + "ff" * 65},
        {"more": 1},
        {"site": None},
    ],
)
def test_malformed_enrolment_is_refused(home: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(TransportError, match="again"):
        read_enrolment(changed(home, **fields))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.just(b"[" * 3000), st.just(b" " * 5000)))
def test_noise_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "noise.json"
    path.write_bytes(data)
    with pytest.raises(TransportError):
        read_enrolment(path)
