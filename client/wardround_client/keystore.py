"""A hospital's signing key in a file: an Ethereum keystore (version 3) under a password.

Source:
    Web3 Secret Storage Definition, version 3; by eth-account.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from eth_keys import keys
from pydantic import Field, ValidationError

from wardround.host.durable import write_private
from wardround.protocol.documents import Form
from wardround.protocol.identifiers import SiteAddress, address_of
from wardround_client.errors import KeystoreError

KEYSTORE_MAX_BYTES = 16_384
#: Work of deriving the key from the password. About a second and 256 MiB, as every wallet does.
SCRYPT_ITERATIONS = 2**18

_Hex = Annotated[str, Field(pattern=r"^(0x)?[0-9a-fA-F]{0,512}$")]


class _CipherParams(Form):
    iv: _Hex


class _Scrypt(Form):
    """Bounded, so that a planted file cannot take all memory before its password fails."""

    dklen: Literal[32]
    n: Annotated[int, Field(ge=2, le=2**20)]
    r: Annotated[int, Field(ge=1, le=8)]
    p: Annotated[int, Field(ge=1, le=16)]
    salt: _Hex


class _Pbkdf2(Form):
    dklen: Literal[32]
    c: Annotated[int, Field(ge=1, le=10_000_000)]
    prf: Literal["hmac-sha256"]
    salt: _Hex


class _Crypto(Form):
    cipher: Literal["aes-128-ctr"]
    cipherparams: _CipherParams
    ciphertext: Annotated[str, Field(pattern=r"^(0x)?[0-9a-fA-F]{64}$")]
    kdf: Literal["scrypt", "pbkdf2"]
    kdfparams: _Scrypt | _Pbkdf2
    mac: Annotated[str, Field(pattern=r"^(0x)?[0-9a-fA-F]{64}$")]


class _Keystore(Form):
    address: Annotated[str, Field(pattern=r"^(0x)?[0-9a-fA-F]{40}$")]
    crypto: _Crypto
    id: Annotated[str, Field(max_length=100)]
    version: Literal[3]


def write_keystore(
    path: Path, key: bytes, password: str, *, iterations: int = SCRYPT_ITERATIONS
) -> SiteAddress:
    """Write a key to a new file that only its owner can read.

    Args:
        path: must not exist.
        key: 32-byte private key.
        password: not empty.
        iterations: of scrypt, a power of two.
    Returns:
        The key's address.
    Raises:
        KeystoreError: a file is there, or the password is empty.
    """
    if not password:
        raise KeystoreError("the keystore has no password: give one that is not empty.")
    from eth_account import Account  # here, as in `home`

    document = Account.encrypt(key, password, kdf="scrypt", iterations=iterations)
    try:
        write_private(path, json.dumps(document))
    except FileExistsError:
        raise KeystoreError(f"keystore {path} is there already: name another folder.") from None
    return address_of("0x" + document["address"].removeprefix("0x"))


def keystore_address(path: Path) -> SiteAddress:
    """Read the address of a keystore's key, without its password.

    Raises:
        KeystoreError: missing or damaged.
    """
    return address_of("0x" + _read(path).address.removeprefix("0x").lower())


def open_keystore(path: Path, password: str) -> bytes:
    """Decrypt a keystore.

    Returns:
        The 32-byte private key.
    Raises:
        KeystoreError: missing, damaged, or another password.
    """
    from eth_account import Account  # here, as in `home`

    document = _read(path)
    try:
        key = bytes(Account.decrypt(document.model_dump(), password))
    except ValueError:
        words = "does not open with this password: give the one it was made with"
        raise KeystoreError(f"keystore {path} {words}.") from None
    address = keys.PrivateKey(key).public_key.to_address()
    if address.removeprefix("0x") != document.address.removeprefix("0x").lower():
        raise _damaged(path, "its key has another address than it states")
    return key


def _read(path: Path) -> _Keystore:
    try:
        with path.open("rb") as file:
            data = file.read(KEYSTORE_MAX_BYTES + 1)
    except FileNotFoundError:
        words = "is missing: make one with `wardround site init`, or restore it"
        raise KeystoreError(f"keystore {path} {words}.") from None
    except OSError as error:
        raise _damaged(path, error.strerror or type(error).__name__) from error
    if len(data) > KEYSTORE_MAX_BYTES:
        raise _damaged(path, f"it is longer than {KEYSTORE_MAX_BYTES} bytes")
    try:
        value: Any = json.loads(data)
        # Some wallets write capital letters.
        return _Keystore.model_validate(_lower(value))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise _damaged(path, f"{place or 'the whole'} is not as it should be") from None
    except (ValueError, RecursionError):
        raise _damaged(path, "it is not JSON") from None


def _damaged(path: Path, reason: str) -> KeystoreError:
    return KeystoreError(f"keystore {path} is damaged ({reason}): restore it from your copy.")


def _lower(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {str(name).lower(): _lower(inner) for name, inner in value.items()}
