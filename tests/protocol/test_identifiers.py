from __future__ import annotations

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import bytes32, hex_of, site_address


@given(st.binary(min_size=20, max_size=20))
def test_address_when_in_any_letter_case_is_checksummed(raw: bytes) -> None:
    lower = "0x" + raw.hex()
    address = site_address(lower)
    assert address.lower() == lower
    assert site_address("0x" + raw.hex().upper()) == address
    assert site_address(address) == address


def test_address_when_checksummed_is_eth_accounts() -> None:
    account = Account.from_key(b"\x01" * 32)
    assert site_address(account.address.lower()) == account.address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x" + "a" * 39,
        "0x" + "a" * 41,
        "a" * 40,
        "0X" + "a" * 40,
        "0x" + "g" * 40,
        " 0x" + "a" * 40,
        "0x" + "a" * 40 + "\n",
        "0x" + "\u0661" * 40,
        b"\x00" * 20,
        None,
        7,
        True,
    ],
    ids=repr,
)
def test_address_when_it_is_none_is_refused(text: object) -> None:
    with pytest.raises(Malformed):
        site_address(text)


@given(st.text() | st.binary() | st.none() | st.integers())
def test_address_when_hostile_gives_an_address_or_one_error(text: object) -> None:
    try:
        address = site_address(text)
    except Malformed:
        return
    assert isinstance(text, str)
    assert address.lower() == text.lower()


@given(st.binary(min_size=32, max_size=32))
def test_bytes32_when_written_is_read_back(value: bytes) -> None:
    assert bytes32(hex_of(value), "root") == value


@pytest.mark.parametrize(
    "text",
    ["", "0x", "ab" * 32, "0x" + "ab" * 31, "0x" + "ab" * 33, "0x" + "AB" * 32, "0x" + "zz" * 32,
     "0x" + "٣" * 64, " 0x" + "ab" * 31 + "a", b"\x00" * 32, None, 1],
    ids=repr,
)  # fmt: skip
def test_bytes32_when_it_is_none_is_refused_with_its_name(text: object) -> None:
    with pytest.raises(Malformed, match="model root is malformed"):
        bytes32(text, "model root")
