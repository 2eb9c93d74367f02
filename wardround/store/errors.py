"""Errors of the content store.

StoreError
├── StoreUnknown          an address that names no kind of store
├── ObjectMissing         the store has no such object
├── ObjectAltered         an object whose bytes do not give its CID
├── ObjectTooLarge        an object longer than the reader allows
├── ObjectSealed          an object that is encrypted, and no key to it
├── NotGranted            the sponsor has not let this account read or write
├── StoreUnreachable      no answer from a store elsewhere (retryable)
├── StoreRefused          a store elsewhere answers with a refusal
└── QuorumMissed          too few of a store's replicas took an object (retryable)
"""

from __future__ import annotations

from collections.abc import Mapping

from wardround.protocol.errors import Retryable, WardroundError


class StoreError(WardroundError):
    """Something about stored objects."""


class StoreUnknown(StoreError):
    """An address that names no kind of store."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"no store answers to {url!r}: give a folder, file:// and its path, or "
            "ipfs://HOST:PORT; several with commas between, and #quorum=N after them."
        )


class ObjectMissing(StoreError):
    """The store has no object of this CID."""

    def __init__(self, cid: str, where: str) -> None:
        self.cid = cid
        self.where = where
        super().__init__(f"object {cid} is not in {where}: fetch it from another copy.")


class ObjectAltered(StoreError):
    """The bytes under a CID are not those that it names."""

    def __init__(self, cid: str, found: str, where: str) -> None:
        self.cid = cid
        self.found = found
        self.where = where
        super().__init__(
            f"object {cid} in {where} was altered (its bytes give {found}): "
            "replace it from another copy."
        )


class ObjectTooLarge(StoreError):
    """An object is longer than the reader allows."""

    def __init__(self, cid: str, size_bytes: int, max_bytes: int) -> None:
        self.cid = cid
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes
        super().__init__(
            f"object {cid} has {size_bytes} bytes where at most {max_bytes} are expected: "
            "it is not what it is named as."
        )


class ObjectSealed(StoreError):
    """An object is encrypted, and this reader has no key to it."""

    def __init__(self, cid: str, epoch: int) -> None:
        self.cid = cid
        self.epoch = epoch
        super().__init__(
            f"object {cid} is encrypted (epoch {epoch}) and no key to it is here: ask the study's "
            "sponsor for a grant, and name the reading key."
        )


class NotGranted(StoreError):
    """Nothing may be read or written in this account's name."""

    def __init__(self, account: str, study: str) -> None:
        self.account = account
        self.study = study
        super().__init__(
            f"{account} has no grant with this reading key for study {study}: "
            "its sponsor gives one with `wardround grants give`."
        )


class StoreUnreachable(StoreError, Retryable):
    """A store elsewhere does not answer."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"the store at {where} does not answer ({reason}): try again.")


class StoreRefused(StoreError):
    """A store elsewhere answers, but not with what was asked for."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"the store at {where} refuses: {reason}.")


class QuorumMissed(StoreError, Retryable):
    """Too few replicas of a store took an object; `reasons` says why, by replica."""

    def __init__(self, quorum: int, reasons: Mapping[str, str]) -> None:
        self.quorum = quorum
        self.reasons = dict(reasons)
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"fewer than {quorum} replicas of the store have it ({listed}).")
