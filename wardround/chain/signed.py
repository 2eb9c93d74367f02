"""Transactions as they were signed, which prove their sender."""

from __future__ import annotations

from dataclasses import dataclass

import rlp
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_keys.exceptions import BadSignature
from eth_keys.exceptions import ValidationError as KeyInvalid
from eth_utils import ValidationError, keccak, to_checksum_address
from hexbytes import HexBytes
from rlp.exceptions import RLPException

from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import hex_of

_BROKEN = (
    *(KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError),
    *(BadSignature, KeyInvalid, ValidationError, RLPException),
)


@dataclass(frozen=True)
class SignedTransaction:
    """What a signature is over, and the account that it was made by.

    Attributes:
        to: the account that is called; None for a creation.
        chain_id: None where the transaction is valid on every chain.
    """

    hash: str
    sender: str
    to: str | None
    nonce: int
    data: bytes
    chain_id: int | None


def read_signed(raw: bytes) -> SignedTransaction:
    """Read a transaction as it was signed, and recover its sender.

    Raises:
        Malformed: these bytes are none.
    Source:
        EIP-155, EIP-2718.
    """
    try:
        sender = to_checksum_address(Account.recover_transaction(raw))
        to, nonce, data, chain_id = _fields(raw)
    except _BROKEN as error:
        raise Malformed("a transaction", f"it is malformed ({error!r:.60})") from error
    called = None if not to else to_checksum_address(to)
    return SignedTransaction(hex_of(keccak(raw)), sender, called, nonce, data, chain_id)


def _fields(raw: bytes) -> tuple[bytes, int, bytes, int | None]:
    if raw[0] <= 0x7F:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        to, data = bytes(fields.get("to") or b""), bytes(fields["data"])
        return to, int(fields["nonce"]), data, int(fields["chainId"])
    items = rlp.decode(raw)
    v = int.from_bytes(items[6], "big")
    chain_id = None if v < 35 else (v - 35) // 2
    return bytes(items[3]), int.from_bytes(items[0], "big"), bytes(items[5]), chain_id
