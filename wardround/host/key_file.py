"""Private keys of simulated parties: a file with 32 bytes of hexadecimal, readable by its owner.

A hospital's key belongs in a keystore with a password; a simulation makes its keys when it
starts, and they are worth nothing outside it.
"""

from __future__ import annotations

from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.host.durable import write_private
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
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        account: LocalAccount = Account.from_key(key)
    except OSError as error:
        reason = f"it cannot be read ({(error.strerror or str(error)).lower()})"
        raise SpecificationError(f"key file {path}", None, "", reason) from error
    except ValueError as error:
        raise Malformed(f"key file {path}", "expected 32 bytes of hexadecimal") from error
    return account
