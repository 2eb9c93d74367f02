"""Private keys of simulated parties: a file with 32 bytes of hexadecimal, readable by its owner.

A hospital's key belongs in a keystore with a password; a simulation makes its keys when it
starts, and they are worth nothing outside it.
"""

from __future__ import annotations

from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.host.durable import write_private
from wardround.host.reason import reason_of
from wardround.protocol.errors import Malformed, SpecificationError


def write_new_key(path: Path) -> LocalAccount:
    """Make a key and write it to a new file that only its owner can read."""
    account: LocalAccount = Account.create()
    write_private(path, account.key.hex() + "\n")
    return account


def read_key(path: Path) -> LocalAccount:
    """Read a key.

    Raises:
        SpecificationError: the file cannot be read.
        Malformed: it is not 32 bytes of hexadecimal.
    """
    key = read_secret(path, "key file")
    try:
        account: LocalAccount = Account.from_key(key)
    except ValueError as error:
        raise Malformed(f"key file {path}", "no key has this number") from error
    return account


def read_secret(path: Path, what: str) -> bytes:
    """Read 32 bytes from a file of hexadecimal; wallets write 0x first.

    Raises:
        SpecificationError: the file cannot be read.
        Malformed: it is not 32 bytes of hexadecimal.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip().lower()
        secret = bytes.fromhex(text.removeprefix("0x"))
    except OSError as error:
        reason = f"it cannot be read ({reason_of(error).lower()})"
        raise SpecificationError(f"{what} {path}", reason) from error
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise Malformed(f"{what} {path}", "expected 32 bytes of hexadecimal")
    return secret
