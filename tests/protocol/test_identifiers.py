from __future__ import annotations

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import address_of, bytes32, hex_of


@given(st.binary(min_size=20, max_size=20))
def test_address_when_in_any_letter_case_is_checksummed(raw: bytes) -> None:
    lower = "0x" + raw.hex()
    address = address_of(lower)
    assert address.lower() == lower
    assert address_of("0x" + raw.hex().upper()) == address
    assert address_of(address) == address


def test_address_when_checksummed_is_eth_accounts() -> None:
    account = Account.from_key(b"\x01" * 32)
    assert address_of(account.address.lower()) == account.address


def test_address_when_one_letter_has_the_wrong_case_is_refused_by_name() -> None:
    right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # of EIP-55
    wrong = right.replace("BeAed", "BeaEd")
    with pytest.raises(Malformed, match=f"address {wrong} is malformed: its checksum is wrong"):
        address_of(wrong)


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
        address_of(text)


@given(st.text() | st.binary() | st.none() | st.integers())
def test_address_when_hostile_gives_an_address_or_one_error(text: object) -> None:
    try:
        address = address_of(text)
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
