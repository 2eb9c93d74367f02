"""Errors of the content store.

StoreError                    an address that names no store, or a store that answers nonsense
├── ObjectMissing             the store has no such object
├── ObjectAltered             an object whose bytes do not give its CID
├── ObjectTooLarge            an object longer than the reader allows
├── ObjectSealed              encrypted, and this account has no grant or no key
└── StoreUnreachable          no answer, or too few replicas that took an object (retryable)
"""

from __future__ import annotations

from wardround.protocol.errors import Retryable, WardroundError


class StoreError(WardroundError):
    """The store cannot do what was asked."""

    code = "store"


class ObjectMissing(StoreError):
    """The store has no object of this CID."""

    code = "object-missing"

    def __init__(self, cid: str, where: str) -> None:
        self.cid = cid
        super().__init__(f"object {cid} is not in {where}: fetch it from another copy.")


class ObjectAltered(StoreError):
    """The bytes under a CID are not those that it names."""

    code = "object-altered"

    def __init__(self, cid: str, found: str, where: str) -> None:
        self.cid = cid
        self.found = found
        super().__init__(
            f"object {cid} in {where} was altered (its bytes give {found}): "
            "replace it from another copy."
        )


class ObjectTooLarge(StoreError):
    """An object is longer than the reader allows."""

    code = "object-too-large"

    def __init__(self, cid: str, size_bytes: int, max_bytes: int) -> None:
        self.cid = cid
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes
        super().__init__(
            f"object {cid} has {size_bytes} bytes where at most {max_bytes} are expected: "
            "it is not what it is named as."
        )


class ObjectSealed(StoreError):
    """Objects are encrypted, and this account has no grant or no key to them."""

    code = "object-sealed"


class StoreUnreachable(StoreError, Retryable):
    """A store elsewhere does not answer, or too few replicas do."""

    code = "store-unreachable"

    def __init__(self, where: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the store at {where} does not answer ({reason}): try again.")


def store_unknown(url: str) -> StoreError:
    """An address that names no kind of store."""
    return StoreError(
        f"{url!r} is no store's address: give a folder, file:// and its path, or "
        "ipfs://HOST:PORT; several with commas between, and #quorum=N after them."
    )


def no_key_to(cid: str, epoch: int) -> ObjectSealed:
    """An object is encrypted, and this reader has no key to it."""
    return ObjectSealed(
        f"object {cid} is encrypted (epoch {epoch}) and no key to it is here: ask the study's "
        "sponsor for a grant, and name the reading key."
    )


def not_granted(account: str, study: str) -> ObjectSealed:
    """Nothing may be read or written in this account's name."""
    return ObjectSealed(
        f"{account} has no grant with this reading key for study {study}: "
        "its sponsor gives one with `wardround grants give`."
    )


def store_refused(where: str, reason: str) -> StoreError:
    """A store elsewhere answers, but not with what was asked for."""
    return StoreError(f"the store at {where} refuses: {reason}.")
